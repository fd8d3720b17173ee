package bencode

import "bytes"

// token is one item of the input. Children follow their container directly; in a
// dictionary keys and values alternate. The document ends with a sentinel token so that
// next always points at something.
type token struct {
	start uint32 // first byte of the encoded item
	end   uint32 // one past its last byte
	next  uint32 // index of the token after this item and all its children
	kind  Kind
	head  uint8 // strings: bytes of "123:" before the content
	// few is in lists and dictionaries the number of children, keys and values, or
	// tooMany; with it a token still is 16 bytes.
	few uint16
}

// tooMany children to be remembered: they are counted when somebody asks.
const tooMany = 1<<24 - 1

// close ends a container before pos, with the token before next and that many children.
func (t *token) close(pos, next int, children uint32) {
	n := min(children, tooMany)
	t.end, t.next, t.head, t.few = uint32(pos), uint32(next), uint8(n>>16), uint16(n)
}

// children are those of a container, false if there are tooMany.
func (t *token) children() (int, bool) {
	n := int(t.head)<<16 | int(t.few)
	return n, n != tooMany
}

// frame is an open container during the scan.
type frame struct {
	tok     uint32 // token of the container
	dict    bool
	lastKey uint32 // token of the previous key; 0 = none (a key is never token 0)
	items   uint32 // children so far
}

// Doc is a parsed document. The zero value is ready; Parse may be called again and again
// and reuses the memory. Values of a Doc are views into the parsed buffer: they are valid
// until the next Parse and while the buffer is unchanged.
type Doc struct {
	buf    []byte
	tokens []token
	stack  []frame
}

// Parse parses the one value that buf holds. See Doc.Parse to reuse memory.
func Parse(buf []byte, o Options) (Doc, error) {
	var d Doc
	err := d.Parse(buf, o)
	return d, err
}

// ParsePrefix parses one value at the start of buf and says how many bytes it took;
// what follows is the caller's (BEP 9 data messages carry a payload there).
func ParsePrefix(buf []byte, o Options) (Doc, int, error) {
	var d Doc
	n, err := d.ParsePrefix(buf, o)
	return d, n, err
}

// Parse replaces the document by the one value that buf holds. The document keeps buf.
// After an error the document is empty.
func (d *Doc) Parse(buf []byte, o Options) error {
	n, err := d.ParsePrefix(buf, o)
	if err != nil {
		return err
	}
	if n != len(buf) && !o.AllowTrailing {
		d.clear()
		return &SyntaxError{n, ErrTrailing}
	}
	return nil
}

// ParsePrefix replaces the document by the value at the start of buf and gives the
// number of bytes it took. After an error the document is empty.
func (d *Doc) ParsePrefix(buf []byte, o Options) (int, error) {
	d.clear()
	if len(buf) > o.maxSize() {
		return 0, &SyntaxError{o.maxSize(), ErrTooLarge}
	}
	n, err := d.scan(buf, &o)
	if err != nil {
		d.clear()
		return 0, &SyntaxError{n, err}
	}
	d.buf = buf
	return n, nil
}

// Root is the document's value; of Kind Invalid when nothing was parsed.
func (d *Doc) Root() Value {
	if len(d.tokens) == 0 {
		return Value{}
	}
	return Value{d, 0}
}

// Reset forgets the document and its buffer and keeps the memory, unless it is for more
// than maxTokens tokens: for callers that pool documents.
func (d *Doc) Reset(maxTokens int) {
	d.clear()
	if cap(d.tokens) > maxTokens {
		d.tokens = nil
	}
}

func (d *Doc) clear() {
	d.buf, d.tokens, d.stack = nil, d.tokens[:0], d.stack[:0]
}

// scan fills d.tokens from the value at the start of buf. It returns the offset where
// the value ends, or where and why it is wrong. What the loop needs lives in locals, and
// the common string and key cases stay in line: this is the hot path.
func (d *Doc) scan(buf []byte, o *Options) (int, error) {
	var (
		maxItems  = orDefault(o.MaxItems, DefaultMaxItems)
		tokens    = d.tokens[:min(cap(d.tokens), maxItems)]
		n         = 0 // tokens used
		maxDepth  = orDefault(o.MaxDepth, DefaultMaxDepth)
		maxString = orDefault(o.MaxString, len(buf))
		cur       frame // the innermost open container
		wantKey   bool
		pos       int
	)
	for pos < len(buf) {
		c := buf[pos]
		if c == 'e' {
			// Ends of containers hold no token; a dictionary may end only where a key may stand.
			if len(d.stack) == 0 || (cur.dict && !wantKey) {
				return pos, ErrSyntax
			}
			pos++
			tokens[cur.tok].close(pos, n, cur.items)
			cur = d.pop()
		} else {
			if n == len(tokens) {
				if tokens = d.grow(n, maxItems); n == len(tokens) {
					return pos, ErrTooManyItems
				}
			}
			t := &tokens[n]
			n++
			cur.items++
			t.start, t.next = uint32(pos), uint32(n)
			switch {
			case wantKey && c-'0' > 9:
				return pos, ErrKey
			case c == 'd' || c == 'l':
				if len(d.stack) >= maxDepth {
					return pos, ErrTooDeep
				}
				wantKey = c == 'd'
				cur = d.push(cur, t, uint32(n-1), wantKey)
				pos++
				continue
			}
			end, err := 0, error(nil)
			if head, size := shortString(buf, pos); head > 0 && size <= maxString && pos+head+size <= len(buf) {
				end = pos + head + size
				t.end, t.kind, t.head = uint32(end), String, uint8(head)
			} else if end, err = scanAtom(buf, pos, t, o); err != nil {
				return pos, err
			}
			if wantKey {
				if cur.lastKey != 0 && !o.Lenient {
					if err := checkOrder(buf, &tokens[cur.lastKey], t); err != nil {
						return pos, err
					}
				}
				cur.lastKey = uint32(n - 1)
				wantKey, pos = false, end
				continue // a key is never the whole value
			}
			pos = end
		}
		if len(d.stack) == 0 {
			d.tokens = tokens[:n]
			return pos, nil
		}
		wantKey = cur.dict
	}
	return pos, ErrTruncated
}

// shortString reads the head of a canonical string of up to 99 bytes, as most
// are; head is 0 for anything else. It is inlined. The caller checks that the
// string lies within buf.
func shortString(buf []byte, pos int) (head, size int) {
	if pos+3 > len(buf) {
		return 0, 0
	}
	a, b := buf[pos]-'0', buf[pos+1]-'0'
	switch {
	case a <= 9 && b == ':'-'0':
		return 2, int(a)
	case a-1 <= 8 && b <= 9 && buf[pos+2] == ':':
		return 3, 10*int(a) + int(b)
	}
	return 0, 0
}

// push opens a container inside another.
func (d *Doc) push(outer frame, t *token, tok uint32, dict bool) frame {
	d.stack = append(d.stack, outer)
	t.kind = List
	if dict {
		t.kind = Dictionary
	}
	return frame{tok: tok, dict: dict}
}

// pop closes the innermost container and gives the one around it.
func (d *Doc) pop() frame {
	last := len(d.stack) - 1
	outer := d.stack[last]
	d.stack = d.stack[:last]
	return outer
}

// firstTokens is how many tokens a new Doc makes room for.
const firstTokens = 64

// grow makes room for more than n tokens but never for more than maxItems; the result is
// as long as its capacity.
func (d *Doc) grow(n, maxItems int) []token {
	size := min(max(2*n, firstTokens), maxItems)
	if size <= n {
		return d.tokens[:n]
	}
	tokens := make([]token, size)
	copy(tokens, d.tokens[:n])
	d.tokens = tokens
	return tokens
}

// scanAtom reads the string or integer at pos into t and gives where it ends.
func scanAtom(buf []byte, pos int, t *token, o *Options) (int, error) {
	if buf[pos] == 'i' {
		end, err := scanInt(buf, pos, o.Lenient)
		t.end, t.kind = uint32(end), Integer
		return end, err
	}
	if buf[pos]-'0' > 9 {
		return 0, ErrSyntax
	}
	content, end, err := scanString(buf, pos, o)
	t.end, t.kind, t.head = uint32(end), String, uint8(content-pos)
	return end, err
}

// scanString reads the string at pos and gives where its content starts and ends.
func scanString(buf []byte, pos int, o *Options) (content, end int, err error) {
	n, i := uint64(0), pos
	for ; i < len(buf) && buf[i]-'0' <= 9; i++ {
		n = n*10 + uint64(buf[i]-'0') // may wrap, then the number of digits refuses it
	}
	switch {
	case i-pos > maxLengthDigits:
		return 0, 0, ErrLength
	case i >= len(buf):
		return 0, 0, ErrTruncated
	case buf[i] != ':' || (buf[pos] == '0' && i > pos+1 && !o.Lenient):
		return 0, 0, ErrLength
	case o.MaxString > 0 && n > uint64(o.MaxString):
		return 0, 0, ErrStringSize
	case n > uint64(len(buf)-i-1):
		return 0, 0, ErrTruncated
	}
	return i + 1, i + 1 + int(n), nil
}

// maxLengthDigits bounds a length prefix: MaxSize has ten digits.
const maxLengthDigits = 10

// maxIntDigits is generous for lenient leading zeros; the value itself must fit int64.
const maxIntDigits = 32

// scanInt checks the integer at pos and gives where it ends.
func scanInt(buf []byte, pos int, lenient bool) (int, error) {
	i := pos + 1
	negative := i < len(buf) && buf[i] == '-'
	if negative {
		i++
	}
	first := i
	var v uint64
	for ; i < len(buf) && buf[i]-'0' <= 9; i++ {
		if i-first >= maxIntDigits || v > (1<<63)/10 {
			return 0, ErrRange
		}
		v = v*10 + uint64(buf[i]-'0')
	}
	switch {
	case i >= len(buf):
		return 0, ErrTruncated
	case buf[i] != 'e' || i == first:
		return 0, ErrInteger
	case !lenient && buf[first] == '0' && (i > first+1 || negative):
		return 0, ErrInteger
	case v > 1<<63 || (v == 1<<63 && !negative):
		return 0, ErrRange
	}
	return i + 1, nil
}

// checkOrder compares neighbouring keys; mostly their first bytes decide.
func checkOrder(buf []byte, a, b *token) error {
	x, y := buf[a.start+uint32(a.head):a.end], buf[b.start+uint32(b.head):b.end]
	if len(x) > 0 && len(y) > 0 && x[0] != y[0] {
		if x[0] < y[0] {
			return nil
		}
		return ErrKeyOrder
	}
	switch c := bytes.Compare(x, y); {
	case c < 0:
		return nil
	case c == 0:
		return ErrDuplicateKey
	}
	return ErrKeyOrder
}
