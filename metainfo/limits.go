package metainfo

import "errors"

// Limits of what is accepted from strangers.
const (
	// MaxTorrentSize is the longest .torrent file, in bytes.
	MaxTorrentSize = 64 << 20
	// MaxFiles is how many files a torrent may have, pad files included.
	MaxFiles = 1_000_000
	// MaxTotalLength bounds the bytes of a torrent, pad files included.
	MaxTotalLength = 1 << 50
	// MinPieceLength and MaxPieceLength bound the piece length of parsed torrents, in bytes.
	MinPieceLength = 1 << 10
	MaxPieceLength = 256 << 20
	// MinCreatedPieceLength is the smallest piece length of created torrents and of
	// version 2: one block.
	MinCreatedPieceLength = BlockSize
	// MaxPieces is how many pieces a torrent may have.
	MaxPieces = 1 << 24
	// MaxNameLength is the longest torrent name or path component, in bytes.
	MaxNameLength = 4096
	// MaxPathDepth is how many components a path may have.
	MaxPathDepth = 100
	// MaxPathComponents bounds the components of all paths of a torrent together.
	MaxPathComponents = 8_000_000
	// MaxTrackers is how many trackers one torrent or magnet may name.
	MaxTrackers = 1000
	// MaxWebSeeds is how many web seeds of a kind one torrent or magnet may name.
	MaxWebSeeds = 1000
	// MaxNodes is how many DHT nodes a torrent, or peers a magnet, may name.
	MaxNodes = 200
	// MaxURLLength is the longest tracker or web seed URL, in bytes.
	MaxURLLength = 4096
	// MaxTextLength is the longest comment, creator or source, in bytes; longer ones are cut.
	MaxTextLength = 64 << 10
	// MaxMagnetLength is the longest magnet link, in bytes.
	MaxMagnetLength = 256 << 10
	// MaxSelections is how many ranges of files a magnet may select (BEP 53).
	MaxSelections = 10_000

	// maxListed is how many bencode items a list outside the info dictionary may have,
	// usable or not.
	maxListed = 20_000

	maxItems = 10 << 20 // bencode tokens of a torrent: a million files take about nine each
	maxDepth = MaxPathDepth + 10
)

// BlockSize is what peers request at once and what version 2 hashes singly, in bytes.
const BlockSize = 16 << 10

// Why a torrent or magnet link was refused. Errors wrap one of these, or one of package
// bencode's.
var (
	ErrSize        = errors.New("torrent is larger than 64 MiB")
	ErrInfo        = errors.New("no valid info dictionary")
	ErrName        = errors.New("torrent has no valid name")
	ErrPieceLength = errors.New("invalid piece length")
	ErrPieces      = errors.New("piece hashes do not fit the files")
	ErrFiles       = errors.New("torrent has no valid file list")
	ErrFileLength  = errors.New("invalid file length")
	ErrPath        = errors.New("invalid file path")
	ErrTooMany     = errors.New("too many entries")
	ErrEmpty       = errors.New("torrent has no content")
	ErrVersion     = errors.New("unsupported metainfo version")
	ErrFileTree    = errors.New("invalid file tree")
	ErrPieceLayers = errors.New("piece layers do not fit the file tree")
	ErrHybrid      = errors.New("version 1 and version 2 parts describe different content")
	ErrURL         = errors.New("invalid URL")
	ErrHash        = errors.New("invalid hash")
	ErrMagnet      = errors.New("invalid magnet link")
	ErrProof       = errors.New("hash proof does not lead to the root")
	ErrBuild       = errors.New("torrent cannot be created")
)
