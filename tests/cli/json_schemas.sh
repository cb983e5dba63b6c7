#!/bin/sh
# Everything that --json prints is as docs/schemas says, and what is not so is noticed.
for p in /usr/bin/python3 python3; do
	$p -c 'import jsonschema' 2>/dev/null || continue
	PYTHONDONTWRITEBYTECODE=1 exec $p -W ignore tests/json_schemas.py "$NSTATE"
done
echo "python3-jsonschema is missing"
exit 77
