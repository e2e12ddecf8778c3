"""kizashi import: files of accounts or events, sent as history, each row once.

command        what is said on the command line
own_files      sees that it writes over none of its files
attempt        one run: it begins, goes on, or finds nothing to do
plan           a file, opened, with all that must be known before its first row is sent
file_lines     a file, plain or gzipped, or standard input -> lines of bounded length
reading        lines -> rows, by how they begin: csv_rows, json_rows
columns        which column means what: recognised by its name, or as somebody says (mapping_file)
values         cells -> numbers, dates, truth, text
calls          a row -> the call that is sent, with an id that is the same each time
repeats        how often the same row has come before, in bounded memory
journal        how far a file has been sent, so that the same command goes on there
beginning      what follows from a journal for a file as it is now
rejects        the rows that were refused, in a file beside
destination    which ingest, which source
write_key      that of an import: a given one, or one of its own
interruption   whatever asks it to end is as Ctrl-C
sending        a batch -> accepted or refused, whatever the network does meanwhile
work           batches in flight, acknowledged in the order of the file
words          what people are shown before, during and after
"""
