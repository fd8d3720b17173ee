package channel_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// playRun submits the transactions of a run to a fresh ledger and notes what it
// says.
func playRun(t testing.TB, f *vectorFile, r *vectorRun) {
	t.Helper()
	s := newStage(t)
	for i := range r.Submits {
		v := &r.Submits[i]
		s.ledger.Advance(v.Advance)
		if v.Tx == "" {
			v.Verdict = "time passes"
			continue
		}
		receipt, err := s.ledger.Submit(context.Background(), rawOf(t, f, v.Tx))
		if v.Verdict = receipt.State.String(); err != nil {
			if v.Verdict = string(ledger.CodeOf(err)); v.Verdict == "" {
				t.Fatal(err)
			}
		}
	}
	if err := s.ledger.Audit(); err != nil {
		t.Error(err)
	}
	r.Payer, r.Payee = s.holds("payer"), s.holds("payee")
}

func (s *stage) holds(name string) string {
	s.Helper()
	coins, err := s.ledger.Unspent(context.Background(), s.keys[name].Address(), ledger.OutPoint{}, 0)
	if err != nil {
		s.Fatal(err)
	}
	sum := amount.Amount(0)
	for _, c := range coins {
		sum += c.Amount
	}
	return sumText(sum)
}

// rawOf finds a transaction by its name in the file.
func rawOf(t testing.TB, f *vectorFile, name string) []byte {
	t.Helper()
	name, unsigned := strings.CutSuffix(name, "-unsigned")
	raw := ""
	switch {
	case name == "t1":
		raw = f.Contract.T1
	case name == "t2":
		raw = f.Refund.Raw
	default:
		for _, p := range f.Payments {
			if name == "t3-"+strconv.FormatUint(uint64(p.Sequence), 10) {
				raw = p.Raw
			}
		}
	}
	b := unhex(t, raw)
	if !unsigned {
		return b
	}
	tx, err := ledger.DecodeTx(b)
	if err != nil {
		t.Fatal(err)
	}
	tx.Witnesses[0].Signatures[1] = tx.Witnesses[0].Signatures[0] // K1's twice
	return tx.Encode()
}

// refusal brings a fresh side to the point of the example and returns the code
// with which it refuses.
func refusal(t testing.TB, f *vectorFile, r *vectorRefusal) channel.Code {
	t.Helper()
	s := newStage(t)
	if r.Spent != "" {
		if _, err := s.ledger.Submit(context.Background(), unhex(t, r.Spent)); err != nil {
			t.Fatal(err)
		}
	}
	var m channel.Message
	if r.Terms == "" {
		m = s.decode(r.Hex)
	}
	err := s.upTo(f, r, m)
	var refused *channel.Refusal
	if !errors.As(err, &refused) {
		t.Errorf("%s: %v, not refused", r.Name, err)
		return 0
	}
	return refused.Code
}

func (s *stage) upTo(f *vectorFile, r *vectorRefusal, last channel.Message) error {
	s.Helper()
	if r.Side == "payee" && r.Given == 0 {
		_, err := s.newPayee(last.(*channel.Open), r.Now)
		return err
	}
	if r.Terms != "" {
		terms, err := channel.DecodeTerms(unhex(s, r.Terms))
		if err == nil {
			_, err = s.newPayer(terms)
		}
		return err
	}
	for i := range r.Given {
		s.feed(&f.Example[i], r.Side)
	}
	if r.Side == "payer" {
		s.payer.Tick(r.Now)
		if q, ok := last.(*channel.Quote); ok {
			return s.payer.Reprice(s.lane, q.From, q.Price)
		}
		return s.payer.Step(last)
	}
	// Only the time is new: what a Tick would start has not happened yet.
	if r.Now != vectorOpened {
		s.payee = channel.RestorePayee(s.payee.Snapshot(), s.keys["K2"], r.Now)
	}
	if err := s.payee.Step(last); err != nil || r.Spent == "" {
		return err
	}
	return s.said()
}

// said carries the payee's tasks to the ledger and returns the refusal that it
// then sends.
func (s *stage) said() error {
	for rd := s.payee.Ready(); !rd.Empty(); rd = s.payee.Ready() {
		for _, m := range rd.Messages {
			if no, ok := m.(*channel.Refuse); ok {
				return &channel.Refusal{Code: no.Code, Reason: no.Reason}
			}
		}
		for _, t := range rd.Tasks {
			s.do(t, s.payee.LookedUp, s.payee.Submitted)
		}
	}
	return nil
}

// feed gives one message of the example to the side it is for, and answers what
// that side asks of the ledger. What the side itself sent before is its own.
func (s *stage) feed(step *vectorStep, side string) {
	s.Helper()
	m := s.decode(step.Hex)
	switch {
	case m.Type() == channel.TypeQuote || step.From == side && side == "payee":
		return
	case step.From == side:
		s.repeat(m)
		return
	case side == "payer":
		if err := s.payer.Step(m); err != nil {
			s.Fatal(err)
		}
		s.payer.Ready()
		return
	case m.Type() == channel.TypeOpen:
		s.payee = s.accept(m.(*channel.Open))
	default:
		if err := s.payee.Step(m); err != nil {
			s.Fatal(err)
		}
	}
	for rd := s.payee.Ready(); !rd.Empty(); rd = s.payee.Ready() {
		for _, e := range rd.Events {
			if e.Kind == channel.EventAttached {
				if err := s.payee.Tariff(e.Lane, e.Bytes, e.From, channel.Tariff{{From: 0, Price: vectorPrice}}); err != nil {
					s.Fatal(err)
				}
			}
		}
		for _, t := range rd.Tasks {
			if t.Kind != channel.TaskSettle { // the answer is still awaited
				s.do(t, s.payee.LookedUp, s.payee.Submitted)
			}
		}
	}
}

// repeat makes the payer send what it sent in the example.
func (s *stage) repeat(m channel.Message) {
	s.Helper()
	switch m := m.(type) {
	case *channel.Attach:
		var err error
		if s.lane, err = s.payer.Attach(m.Tag, m.From, channel.Tariff{{From: 0, Price: vectorPrice}}); err != nil {
			s.Fatal(err)
		}
	case *channel.Pay:
		if err := s.payer.Pay(m.Lane, m.Bytes); err != nil {
			s.Fatal(err)
		}
	}
	s.payer.Ready()
}

func readVectors(t *testing.T) vectorFile {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(vectorPath))
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestVectors checks the file as another implementation would: from its texts.
func TestVectors(t *testing.T) {
	f := readVectors(t)
	if len(f.Messages) < 12 || len(f.Malformed) < 10 || len(f.Runs) < 5 || len(f.Refusals) < 20 {
		t.Fatal("vectors are missing")
	}
	types := map[uint8]bool{}
	for _, v := range f.Messages {
		types[v.Type] = true
		m, err := channel.Decode(unhex(t, v.Hex))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		var want, got any
		if err := errors.Join(json.Unmarshal(v.Fields, &want), json.Unmarshal(fieldsOf(m), &got)); err != nil {
			t.Fatal(err)
		}
		if again := hex.EncodeToString(channel.Encode(m)); again != v.Hex || uint8(m.Type()) != v.Type || !reflect.DeepEqual(want, got) {
			t.Errorf("%s: type %d, fields %v, again %s", v.Name, m.Type(), got, again)
		}
	}
	if len(types) != 11 {
		t.Errorf("%d of 11 types have a vector", len(types))
	}
	for _, v := range f.Malformed {
		if m, err := channel.Decode(unhex(t, v.Hex)); !errors.Is(err, channel.ErrMessage) {
			t.Errorf("%s: read as %+v (%v)", v.Name, m, err)
		}
	}
	for _, r := range f.Runs {
		want := r
		want.Submits = append([]vectorVerdict(nil), r.Submits...)
		playRun(t, &f, &r)
		if !reflect.DeepEqual(r, want) {
			t.Errorf("run %q: %+v, want %+v", r.Name, r, want)
		}
	}
	for _, r := range f.Refusals {
		if code := refusal(t, &f, &r); uint8(code) != r.Code || code.String() != r.Word {
			t.Errorf("%s: refused with %v, want %s", r.Name, code, r.Word)
		}
	}
}

// TestVectorsSums checks the example's arithmetic and every signature with
// nothing but the prices, the ledger's rules and the keys.
func TestVectorsSums(t *testing.T) {
	f := readVectors(t)
	keys := map[string]ledger.PublicKey{}
	for _, k := range f.Keys {
		keys[k.Name] = k.Public
	}
	deposit, _ := strconv.ParseInt(f.Contract.Deposit, 10, 64)
	sum, at, price := int64(0), int64(0), int64(vectorPrice)
	last := int64(0)
	for _, step := range f.Example {
		switch step.Type {
		case "quote":
			sum += price * (step.Position - at) >> 30
			at = step.Position
			price, _ = strconv.ParseInt(step.Price, 10, 64)
		case "pay":
			owed := sum + price*(step.Position-at)>>30
			if got := strconv.FormatInt(owed, 10); got != step.Owed {
				t.Errorf("at byte %d: %s owed, computed %s", step.Position, step.Owed, got)
			}
			last = owed
		}
	}
	if last != 8788 {
		t.Errorf("the example ends at %d, the specification says 8788", last)
	}
	for _, p := range f.Payments {
		tx, err := ledger.DecodeTx(unhex(t, p.Raw))
		if err != nil {
			t.Fatal(err)
		}
		digest := tx.Digest(f.Network, ledger.Joint(keys["K1"], keys["K2"]))
		if hex.EncodeToString(digest[:]) != p.Digest || tx.ID(f.Network).String() != p.ID || tx.Sequence != p.Sequence {
			t.Errorf("T3 number %d: digest %x, id %s", p.Sequence, digest, tx.ID(f.Network))
		}
		for who, sig := range map[string]string{"K1": p.K1, "K2": p.K2} {
			if !ledger.VerifySignature(keys[who], digest, ledger.Signature(unhex(t, sig))) {
				t.Errorf("T3 number %d: %s's signature does not verify", p.Sequence, who)
			}
		}
		total := int64(0)
		for _, o := range tx.Outputs {
			total += int64(o.Amount)
		}
		if total != deposit {
			t.Errorf("T3 number %d pays %d of %d", p.Sequence, total, deposit)
		}
	}
}

// TestSpecificationQuotesVectors holds the worked example of the specification
// to the vectors: every long hexadecimal number in it, and the counts it names.
func TestSpecificationQuotesVectors(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash("../docs/beps/channel.rst"))
	if err != nil {
		t.Fatal(err)
	}
	vectors, err := os.ReadFile(filepath.FromSlash(vectorPath))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`[0-9a-f]{32,}`).FindAllString(string(text), -1)
	if len(found) < 10 {
		t.Errorf("%d numbers in the specification", len(found))
	}
	for _, n := range found {
		if !bytes.Contains(vectors, []byte(n)) {
			t.Errorf("%s is in no vector", n)
		}
	}
	f := readVectors(t)
	if len(f.Refusals) != 29 || len(f.Runs) != 7 {
		t.Errorf("%d refusals and %d orders, the specification says 29 and 7", len(f.Refusals), len(f.Runs))
	}
	for code := channel.Code(1); code <= channel.CodeTimeout; code++ {
		if given := slices.ContainsFunc(f.Refusals, func(r vectorRefusal) bool { return r.Code == uint8(code) }); given != (code < channel.CodeBanned) {
			t.Errorf("code %d (%v) has a vector: %v, the specification says that 1 to 15 have", code, code, given)
		}
		if row := regexp.MustCompile(`(?m)^` + strconv.Itoa(int(code)) + ` +` + code.String() + ` `); !row.Match(text) {
			t.Errorf("code %d (%v) is not in the table of refusals", code, code)
		}
	}
	sizes := map[string]string{}
	for _, v := range f.Messages {
		sizes[strings.Fields(v.Name)[0]] += strconv.Itoa(len(v.Hex)/2) + " "
	}
	for name, want := range map[string]string{"open": "151", "refundsig": "82", "attach": "57", "state": "107", "pay": "106", "close": "17", "closed": "25", "quote": "17"} {
		if !strings.HasPrefix(sizes[name], want+" ") {
			t.Errorf("%s has %s bytes, the specification says %s", name, sizes[name], want)
		}
	}
}
