"""Every query of notify, one file per thing that it keeps."""
