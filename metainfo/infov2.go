package metainfo

// parseV2 reads the version 2 part of a version 2 or hybrid torrent.
func (in *Info) parseV2(*infoFields) error { return ErrVersion }
