package document

import "reflect"

// fill makes empty slices of those that are none, in the whole document, so that the page
// finds a list where it expects one: JSON would have null.
func (d *Document) fill() { fill(reflect.ValueOf(d).Elem()) }

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		switch v.Type().Elem().Kind() {
		case reflect.Struct, reflect.Slice:
			for i := range v.Len() {
				fill(v.Index(i))
			}
		}
	}
}
