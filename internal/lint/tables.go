package lint

// Module is the import path of the repository.
const Module = "github.com/bttnet/btt"

// Limits of size.
const (
	FunctionMax    = 70  // lines from func to the closing brace
	FileMax        = 400 // lines
	TestFileMax    = 500 // lines: a test may hold a long table
	PackageFileMax = 15  // non-test Go files of one package
)

// Levels gives each package its layer; a package may import lower layers only.
// The path is relative to the module, "." is its root.
var Levels = map[string]int{
	"amount": 0, "bencode": 0, "internal/lanes": 0,

	"metainfo": 1, "wire": 1,

	"ledger": 2, "channel": 2, "wallet": 2, "tracker": 2,
	"ledger/books": 2, "ledger/ledgertest": 2,
	"internal/unitsums": 2,
	"speed":             2, "speed/auction": 2, "speed/autobid": 2, "speed/reserve": 2,

	"internal/durable": 3, "internal/consent": 3, "internal/blocktree": 3, "internal/heads": 3, "internal/ipfilter": 3,
	"internal/peer": 3, "internal/picker": 3, "internal/admission": 3, "internal/choker": 3, "internal/queue": 3, "internal/ratelimit": 3,
	"internal/mse": 3, "internal/disk": 3, "internal/mover": 3, "internal/webseed": 3, "internal/resume": 3, "internal/announce": 3, "internal/dht": 3, "internal/purse": 3, "internal/receipts": 3, "internal/chanlog": 3, "internal/payments": 3,

	"internal/market": 4, "internal/catalog": 4, "internal/ledgerdb": 4, "internal/swarm": 4, "internal/session": 4, "internal/joiner": 5, "internal/create": 4,

	"internal/ledgerd": 5, "internal/ledgerhttp": 5, "internal/trackerd": 5,

	".": 6, "internal/terminal": 6,

	"internal/demo": 7, "internal/golden": 7, "internal/foreign": 7, "internal/interop": 7, "internal/lint": 7, "internal/lint/skips": 7, "bench": 7, "internal/lanes/gen": 7,

	"cmd/btt": 8,
}

// PureMax is the highest level of the pure core.
const PureMax = 2

// sideways lists the imports allowed within one level: from, then to.
var sideways = map[string][]string{
	"channel":             {"ledger"},
	"wallet":              {"ledger"},
	"speed":               {"channel", "ledger", "speed/auction", "speed/autobid", "speed/reserve"},
	"ledger/books":        {"ledger"},
	"ledger/ledgertest":   {"ledger", "ledger/books"},
	"internal/announce":   {"internal/peer"},
	"internal/blocktree":  {"internal/durable"},
	"internal/heads":      {"internal/durable"},
	"internal/dht":        {"internal/durable"},
	"internal/peer":       {"internal/disk", "internal/picker", "internal/ratelimit"},
	"internal/mover":      {"internal/disk", "internal/durable"},
	"internal/resume":     {"internal/disk", "internal/durable", "internal/picker"},
	"internal/chanlog":    {"internal/durable"},
	"internal/payments":   {"internal/chanlog", "internal/purse"},
	"internal/receipts":   {"internal/durable"},
	"internal/purse":      {"internal/durable"},
	"internal/consent":    {"internal/durable"},
	"internal/swarm":      {"internal/market"},
	"internal/catalog":    {"internal/market"},
	"internal/session":    {"internal/catalog", "internal/market", "internal/swarm"},
	"internal/lint/skips": {"internal/lint"},
}

// impureImports may not appear in the pure core. A trailing star means any
// path that begins so.
var impureImports = []string{"net", "net/http*", "os", "os/*", "math/rand*", "crypto/rand", "log", "log/*", "io/ioutil", "syscall", "golang.org/x/sys/unix", "golang.org/x/sys/windows*"} // x/sys/cpu tells what the processor can

// impureNames are identifiers that the pure core may not use, by import path.
var impureNames = map[string][]string{
	"time": {"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"},
}

// money lists the packages that count it: nothing in them is a float.
var money = []string{"amount", "ledger", "ledger/books", "channel", "wallet", "speed", "speed/auction", "speed/autobid", "speed/reserve",
	"internal/purse", "internal/payments", "internal/receipts", "internal/market", "internal/ledgerd", "internal/ledgerdb", "internal/ledgerhttp"}

// forbiddenNames say nothing about what a package or file holds.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc"}

// longFiles lists files that may have more lines than FileMax or TestFileMax: by
// path, how many. None does now; who adds one says why.
var longFiles = map[string]int{}

// manyFiles lists packages that may have more than PackageFileMax files.
var manyFiles = map[string]int{
	"cmd/btt":           38, // one file per command
	"ledger":            17, // one file for each noun: keys, locks, transactions, state, events
	"internal/swarm":    24, // one owner's book, a file for each concern; the market's part is to become a package
	"internal/payments": 18, // either side of a channel a file for each concern
}

// fuzzed lists packages that read what strangers or disks hold and have no
// exported decoder by which the rule would know.
var fuzzed = []string{"wire", "tracker", "channel", "speed", "ledger", "bencode", "metainfo"}

// states are those of docs/conformance.md.
var states = []string{"works", "partly", "not yet"}

// marks may not be left in code. They are written so that this file has none.
var marks = []string{`\bTO` + `DO\b`, `\bFIX` + `ME\b`, `\bXX` + `X\b`, `panic\("(?i:to` + `do|not imple` + `mented|unimple` + `mented)`}

// strangers are paths of somebody's machine; a reader elsewhere can do nothing
// with them.
var strangers = []string{`(?m)(?:^|[ \t"'(=:])/(?:home/[a-z]+|Users/[A-Za-z]+|tmp/go-build)/`}
