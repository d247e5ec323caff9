package main

// appHelp is what a newcomer reads: short, and with something to type.
const appHelp = `hacheck tells whether a distributed system keeps its promises when machines die
and networks split. Type this:

  hacheck --workload register --nemesis partition

It starts five real Raft servers on this machine, breaks the network between
them while clients read and write, and judges what the clients saw.

Commands:
{{- range .VisibleCommands}}
  {{.Name}}{{"\t"}}{{.Usage}}
{{- end}}

hacheck help run shows the options of a run; "run" itself may be left out.
Exit status: 0 valid, 1 invalid, 2 unknown, 254 usage error, 255 hacheck failed.
`

const commandHelp = `{{.HelpName}}: {{.Usage}}

  {{.UsageText}}
{{- if .Description}}

{{.Description}}
{{- end}}
{{- if .VisibleFlagCategories}}
{{- range .VisibleFlagCategories}}{{if .Name}}

{{slice .Name 3}}:
{{- range .Flags}}
  {{.}}
{{- end}}
{{- end}}{{end}}
{{- else}}

Options:
{{- range .VisibleFlags}}
  {{.}}
{{- end}}
{{- end}}
`
