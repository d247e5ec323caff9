package linear

// Window, Unseen, Without and Weakened are what Shrink is made of.

func Window(r *Register, from, to int, end Time) *Witness {
	if from < to {
		from = r.together(from)
	}
	return r.window(from, to, end)
}

func (w *Witness) Unseen() []int32 { return w.unseen() }

func (w *Witness) Without(ops []int32) *Witness { return w.change(ops, true) }

func (w *Witness) Weakened(ops []int32) *Witness { return w.change(ops, false) }
