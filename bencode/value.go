package bencode

import "iter"

// Value is a view of one value of a Doc, small enough to pass around by copy. The zero
// Value is of Kind Invalid: every accessor of it answers empty, so that
// root.Get("info").Get("name").Bytes() needs no checks in between.
type Value struct {
	doc *Doc
	tok uint32
}

func (v Value) token() *token { return &v.doc.tokens[v.tok] }

// Kind says what the value is.
func (v Value) Kind() Kind {
	if v.doc == nil {
		return Invalid
	}
	return v.token().kind
}

// Exists reports whether there is a value at all.
func (v Value) Exists() bool { return v.doc != nil }

// Raw is the value exactly as it stands in the input; nil for a missing value. The info
// hash is the hash of these bytes.
func (v Value) Raw() []byte {
	if v.doc == nil {
		return nil
	}
	t := v.token()
	return v.doc.buf[t.start:t.end:t.end]
}

// Offset is where the value starts in the input; 0 for a missing value.
func (v Value) Offset() int {
	if v.doc == nil {
		return 0
	}
	return int(v.token().start)
}

// Bytes is the content of a string, a view of the input; nil if the value is no string
// (an empty string is not nil).
func (v Value) Bytes() []byte {
	if v.doc == nil {
		return nil
	}
	t := v.token()
	if t.kind != String {
		return nil
	}
	return v.doc.buf[t.start+uint32(t.head) : t.end : t.end]
}

// Text is a copy of the content of a string; "" if the value is no string.
func (v Value) Text() string { return string(v.Bytes()) }

// Int is the number and true, or 0 and false if the value is no integer.
func (v Value) Int() (int64, bool) {
	if v.doc == nil {
		return 0, false
	}
	t := v.token()
	if t.kind != Integer {
		return 0, false
	}
	b := v.doc.buf[t.start+1 : t.end-1]
	negative := b[0] == '-'
	if negative {
		b = b[1:]
	}
	var n uint64
	for _, c := range b {
		n = n*10 + uint64(c-'0')
	}
	if negative {
		n = -n
	}
	return int64(n), true
}

// Len is the number of bytes of a string, of items of a list or of entries of a
// dictionary; 0 for the rest. O(1) up to 16 million items.
func (v Value) Len() int {
	if v.doc == nil {
		return 0
	}
	t := v.token()
	switch t.kind {
	case String:
		return int(t.end-t.start) - int(t.head)
	case List, Dictionary:
		n, known := t.children()
		if !known {
			n = 0
			for i := v.tok + 1; i < t.next; i = v.doc.tokens[i].next {
				n++
			}
		}
		if t.kind == Dictionary {
			n /= 2
		}
		return n
	}
	return 0
}

// Items is the number of tokens the value and all its children take: an upper bound for
// anything that will be made of them.
func (v Value) Items() int {
	if v.doc == nil {
		return 0
	}
	return int(v.token().next - v.tok)
}

// List yields the items of a list in order; nothing for other kinds.
func (v Value) List() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != List {
			return
		}
		for i, end := v.tok+1, v.token().next; i < end; i = v.doc.tokens[i].next {
			if !yield(Value{v.doc, i}) {
				return
			}
		}
	}
}

// Dict yields the entries of a dictionary in the order of the input; nothing for other
// kinds. The keys are views of the input.
func (v Value) Dict() iter.Seq2[[]byte, Value] {
	return func(yield func([]byte, Value) bool) {
		if v.Kind() != Dictionary {
			return
		}
		for i, end := v.tok+1, v.token().next; i < end; i = v.doc.tokens[i+1].next {
			if !yield(Value{v.doc, i}.Bytes(), Value{v.doc, i + 1}) {
				return
			}
		}
	}
}

// Get is the value of a key of a dictionary; of Kind Invalid if there is none. It walks
// the dictionary: O(entries). Of equal keys, which only lenient mode lets through, the
// first counts.
func (v Value) Get(key string) Value {
	if v.Kind() != Dictionary {
		return Value{}
	}
	tokens, buf := v.doc.tokens, v.doc.buf
	for i, end := v.tok+1, v.token().next; i < end; i = tokens[i+1].next {
		t := &tokens[i]
		if string(buf[t.start+uint32(t.head):t.end]) == key {
			return Value{v.doc, i + 1}
		}
	}
	return Value{}
}

// At is the item of a list with index i; of Kind Invalid if there is none. O(i).
func (v Value) At(i int) Value {
	if i < 0 {
		return Value{}
	}
	for item := range v.List() {
		if i == 0 {
			return item
		}
		i--
	}
	return Value{}
}
