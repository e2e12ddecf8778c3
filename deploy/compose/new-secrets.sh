#!/bin/sh
# Makes the secrets that docker-compose.yml hands out, in deploy/compose/secrets. What is there already is kept, so it
# can be run again at any time. Needs openssl.
#
# The folder is its owner's alone. The files in it can be read by everybody who gets as far, since Docker mounts each
# file as it is, into containers whose users have other numbers.
set -eu
umask 077

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

missing() { # NAME
    [ ! -e "$1" ]
}

keep() { # NAME: what standard input says
    cat > "$1.new"
    chmod 644 "$1.new"
    mv "$1.new" "$1"
    echo "made $1"
}

# Passwords that nobody types.
for password in postgres_password kizashi_database_password; do
    if missing "$password"; then openssl rand -hex 24 | keep "$password"; fi
done

# Yours, if you have them; empty means that there is none.
for yours in slack_bot_token slack_webhook_url smtp_password; do
    if missing "kizashi_notify_$yours"; then keep "kizashi_notify_$yours" < /dev/null; fi
done

# Mailpit's, which stands in for a mail server: mail is never sent in the clear, not even to it. The certificate vouches
# for nothing but itself.
if missing mailpit_certificate || missing mailpit_key; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=mailpit \
        -addext subjectAltName=DNS:mailpit,DNS:localhost -addext basicConstraints=critical,CA:FALSE \
        -keyout key -out certificate 2> /dev/null
    keep mailpit_certificate < certificate
    keep mailpit_key < key
    rm key certificate
fi
