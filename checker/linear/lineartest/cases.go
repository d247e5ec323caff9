package lineartest

// Cases returns how many random histories a test tries that is content with n of them: 500
// times as many if it is built with the tag differential, as make differential does.
func Cases(n int) int { return n * effort }
