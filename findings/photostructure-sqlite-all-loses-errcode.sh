#!/usr/bin/env bash
# @photostructure/sqlite calls itself a drop-in replacement for node:sqlite, whose errors carry SQLite's extended result
# code as `errcode` (and its text as `errstr`) whichever method fails. Here run(), get() and exec() do that, but of the
# same statement all() and iterate() throw errors with the message alone: who tells a damaged file (SQLITE_CORRUPT, 11) or
# a broken constraint (SQLITE_CONSTRAINT_UNIQUE, 2067) from others by its number does not see it.
#
# Output seen with 1.2.1 on Node 20.20, Linux x64:
#   @photostructure/sqlite 1.2.1
#   run:     errcode 2067, UNIQUE constraint failed: t.a
#   get:     errcode 2067, UNIQUE constraint failed: t.a
#   all:     errcode undefined, UNIQUE constraint failed: t.a
#   iterate: errcode undefined, UNIQUE constraint failed: t.a
#
# Exits with 1 when this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --ignore-scripts @photostructure/sqlite@1.2.1
cat >show.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { DatabaseSync } from '@photostructure/sqlite';
const { version } = JSON.parse(readFileSync('node_modules/@photostructure/sqlite/package.json', 'utf8'));
const database = new DatabaseSync(':memory:');
database.exec('CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)');
console.log(`@photostructure/sqlite ${version}`);
const codes = ['run', 'get', 'all', 'iterate'].map((method) => {
  try {
    const result = database.prepare('INSERT INTO t VALUES (1) RETURNING a')[method]();
    if (method === 'iterate') [...result];
  } catch ({ errcode, message }) {
    console.log(`${`${method}:`.padEnd(8)} errcode ${errcode}, ${message}`);
    return errcode;
  }
});
process.exit(String(codes) === String([2067, 2067, undefined, undefined]) ? 0 : 1);
JS
node show.mjs
