package channel

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bttnet/btt/internal/golden"
	"github.com/bttnet/btt/ledger"
)

// script runs the commands of one transcript between two machines.
type script struct {
	t     *testing.T
	payer *Payer
	payee *Payee
	out   strings.Builder
	lane  uint32
	price Tariff
	lost  int // messages to drop
}

// TestTranscripts replays testdata/*.txt: a line that starts with "> " is a
// command, the lines below it are what the machines did.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{t: t, price: Tariff{{0, 1 << 20}}}
			for line := range strings.Lines(string(want)) {
				switch {
				case strings.HasPrefix(line, "#"):
					s.out.WriteString(line)
				case strings.HasPrefix(line, "> "):
					s.out.WriteString(line)
					s.run(strings.Fields(line[2:]))
				}
			}
			golden.Text(t, f, []byte(s.out.String()))
		})
	}
}

func (s *script) note(format string, args ...any) { fmt.Fprintf(&s.out, "  "+format+"\n", args...) }

func (s *script) check(who string, err error) {
	if err != nil {
		s.note("%s: %v", who, err)
	}
}

func (s *script) run(f []string) {
	n := int64(0)
	if len(f) > 1 {
		n, _ = strconv.ParseInt(f[1], 10, 64)
	}
	switch f[0] {
	case "open":
		s.payer, _ = newTestPayer(s.t, pairOptions{deposit: 100_000})
		s.payer.Resend()
	case "known": // T1's output exists already
		s.payee.LookedUp(ledger.OutpointState{Status: ledger.OutpointUnspent}, nil, nil)
	case "unknown":
		s.payee.LookedUp(ledger.OutpointState{}, nil, nil)
	case "commit":
		s.payee.Submitted(TaskFund, nil, false)
	case "reject":
		s.payee.Submitted(TaskFund, fmt.Errorf("refused"), true)
	case "attach":
		var err error
		s.lane, err = s.payer.Attach(Tag{1}, n, s.price)
		s.check("payer", err)
	case "pay":
		s.check("payer", s.payer.Pay(s.lane, n<<20))
	case "cheat": // claim bytes for the sum of the last payment
		m := *s.payer.last
		m.Bytes += n << 20
		m.Payment, _ = s.payer.sign(m.Payment.Amount, m.Payment.Sequence+1)
		s.check("payee", s.payee.Step(&m))
	case "forge":
		m := *s.payer.last
		m.Bytes, m.Payment.Amount = m.Bytes+1<<20, m.Payment.Amount+5000
		m.Payment.Sequence++
		s.check("payee", s.payee.Step(&m))
	case "lose":
		s.lost = int(n)
	case "restart-payer":
		s.payer = RestorePayer(s.payer.Snapshot(), key(s.t, 3), 1000)
	case "restart-payee":
		s.payee = RestorePayee(s.payee.Snapshot(), key(s.t, 4), 1000)
	case "time":
		s.payer.Tick(uint64(n))
		s.payee.Tick(uint64(n))
	case "parked":
		s.payee.Parked()
	case "close":
		s.payer.Close()
	case "settled":
		s.payee.Submitted(TaskSettle, nil, false)
	case "unspent": // answer to the payer's look-up
		s.payer.LookedUp(ledger.OutpointState{Status: ledger.OutpointUnspent}, nil, nil)
	default:
		s.t.Fatalf("unknown command %q", f[0])
	}
	s.pump()
}

// pump carries messages until both sides are quiet.
func (s *script) pump() {
	for busy := true; busy; {
		busy = false
		if s.payer != nil {
			rd := s.payer.Ready()
			busy = s.show("payer", &rd) || busy
			for _, m := range rd.Messages {
				if s.lost > 0 {
					s.lost--
					s.note("payer -> %v is lost", m.Type())
					continue
				}
				s.note("payer -> %v", m.Type())
				s.toPayee(m)
			}
		}
		if s.payee == nil {
			continue
		}
		rd := s.payee.Ready()
		busy = s.show("payee", &rd) || busy
		for _, m := range rd.Messages {
			if r, ok := m.(*Refuse); ok {
				s.note("payee -> refuse %v: %s", r.Code, r.Reason)
			} else {
				s.note("payee -> %v", m.Type())
			}
			s.check("payer", s.payer.Step(m))
		}
		for _, e := range rd.Events {
			if e.Kind == EventAttached {
				s.check("payee", s.payee.Tariff(e.Lane, e.Bytes, e.From, s.price))
				busy = true
			}
		}
	}
}

func (s *script) toPayee(m Message) {
	if open, ok := m.(*Open); ok && s.payee == nil {
		var err error
		s.payee, err = NewPayee(PayeeConfig{Terms: testTerms(s.t), Signer: key(s.t, 4), MinOutput: testMin, Now: 1000}, open)
		s.check("payee", err)
		return
	}
	s.check("payee", s.payee.Step(m))
}

func (s *script) show(who string, rd *Ready) bool {
	for _, r := range rd.Records {
		switch {
		case r.Snapshot != nil:
			s.note("%s stores %v", who, r.Snapshot.Stage)
		case r.Pay != nil:
			s.note("%s stores payment %d of %v", who, r.Pay.Payment.Sequence, r.Pay.Payment.Amount)
		case r.Ceiling != nil:
			s.note("%s stores ceiling %v", who, r.Ceiling.Amount)
		}
	}
	for _, t := range rd.Tasks {
		s.note("%s asks the ledger: %v", who, t.Kind)
	}
	for _, e := range rd.Events {
		s.note("%s: %v %v", who, e.Kind, e.Amount)
	}
	return !rd.Empty()
}
