# digests.sh FOLDER NAME…: prints the SHA-256 of each file, "-" where it is absent.
if command -v sha256sum > /dev/null; then digest() { sha256sum; }; else digest() { shasum -a 256; }; fi
cd "$1" 2> /dev/null || cd / || exit 1
folder=$1
shift
for name; do
  if [ -f "$folder/$name" ]; then digest < "$folder/$name"; else echo -; fi
done
