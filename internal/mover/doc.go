// Package mover moves the files of a torrent into another folder, and deletes
// them: by renaming where that is possible, else by copies that get their name
// when they are whole and durable.
//
// What is in which folder tells how far a move came, so [Move.All] goes on
// after a crash and [Move.Undo] takes back what an earlier process did; that a
// move is under way is for the caller to write down before it begins
// (docs/rfcs/0017-moving-files.md). Nothing but the torrent's own files is
// touched, and no link is followed out of a folder.
//
// internal/session calls it, on a goroutine that may wait for the disk; it has
// none of its own.
package mover
