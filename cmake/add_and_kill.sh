# Starts `find_text --index INDEX add`, passes on what it prints, and kills it with SIGKILL when it has printed five lines.
# The last line is its exit status: 137 if it was killed (128 + 9), 0 if it had ended before.
#
#   sh add_and_kill.sh FIND_TEXT INDEX
{
  sh -c 'echo $$; exec "$0" --index "$1" add' "$1" "$2"
  echo "status $?"
} | {
  read -r pid
  lines=0
  while read -r line; do
    echo "$line"
    lines=$((lines + 1))
    [ $lines -ne 5 ] || kill -9 "$pid"
  done
}
