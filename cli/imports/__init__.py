"""kizashi import: files of accounts or events, sent as history, each row once.

file_lines    a file, plain or gzipped, or standard input -> lines of bounded length
csv_rows      lines -> rows, by a header
json_rows     lines -> rows, one object each
columns       which column means what: recognised, or as somebody says
values        cells -> numbers, dates, truth, text
calls         a row -> the call that is sent, with an id that is the same each time
repeats       how often the same row has come before, in bounded memory
journal       how far a file has been sent, so that the same command goes on there
rejects       the rows that were refused, in a file beside
destination   which ingest, which key, which source
sending       a batch -> accepted or refused, whatever the network does meanwhile
work          all of this together: batches in flight, acknowledged in order
words         what people are shown before, during and after
"""
