package bencode

import "testing"

// The number of children fits beside the rest of a token up to a bound.
func TestChildren(t *testing.T) {
	for _, n := range []uint32{0, 1, 255, 256, 65535, 65536, 0x123456, tooMany - 1} {
		var tok token
		if tok.close(7, 9, n); tok.end != 7 || tok.next != 9 {
			t.Errorf("%d children: %+v", n, tok)
		}
		if got, ok := tok.children(); got != int(n) || !ok {
			t.Errorf("%d children: %d, %v", n, got, ok)
		}
	}
	for _, n := range []uint32{tooMany, tooMany + 1, 1<<32 - 1} {
		var tok token
		tok.close(0, 0, n)
		if _, ok := tok.children(); ok {
			t.Errorf("%d children are known", n)
		}
	}
	d, err := Parse([]byte("li1eli2ei3eed1:ai4e1:bleee"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	root := d.Root()
	d.tokens[0].close(int(d.tokens[0].end), int(d.tokens[0].next), tooMany) // as if there were more
	if root.Len() != 3 || root.At(1).Len() != 2 || root.At(2).Len() != 2 || root.At(2).Get("b").Len() != 0 {
		t.Errorf("lengths %d, %d, %d", root.Len(), root.At(1).Len(), root.At(2).Len())
	}
}
