package announce

import (
	"context"
	"errors"
	"time"

	"github.com/bttnet/btt/tracker"
)

// joinFamilies announces over each address family at once, so that a tracker
// learns all of our addresses (BEP 7), and joins the answers. Once one is here
// the others are waited for as long as patience says. If none is, the error is
// the tracker's own word where there is one.
func joinFamilies[F any](ctx context.Context, families []F, patience time.Duration,
	ask func(context.Context, F) (*tracker.Response, error)) (*tracker.Response, error) {
	type answer struct {
		resp *tracker.Response
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the slower family's goroutine
	answers := make(chan answer, len(families))
	for _, f := range families {
		go func() {
			resp, err := ask(ctx, f)
			answers <- answer{resp, err}
		}()
	}
	var joined *tracker.Response
	var errs []error
	var late <-chan time.Time
	for range families {
		select {
		case got := <-answers:
			switch {
			case got.err != nil:
				errs = append(errs, got.err)
			case joined == nil:
				joined, late = got.resp, time.After(patience)
			default:
				joined.Join(got.resp)
			}
		case <-late:
			return joined, nil
		}
	}
	if joined != nil {
		return joined, nil
	}
	return nil, moreTelling(errs)
}

// moreTelling is the tracker's own word if one of the failures is that.
func moreTelling(errs []error) error {
	for _, err := range errs {
		var f *tracker.Failure
		if errors.As(err, &f) {
			return err
		}
	}
	return errs[0]
}
