#!/usr/bin/env bash
# @photostructure/sqlite calls itself a drop-in replacement for node:sqlite. There, close() finalises the statements of a
# connection, so the last one checkpoints the write-ahead log and removes it. Here, close() leaves statements to the
# garbage collector: SQLite keeps the connection as a "zombie" (sqlite3_close_v2), and the file, its locks and its log
# stay open until then, and there is no method that ends a statement. Whoever copies or moves the file after close() gets
# one without its last transactions. A worker thread that ends closes it for certain.
#
# Output seen with 1.2.1 on Node 20.20, Linux x64:
#   @photostructure/sqlite 1.2.1, SQLite 3.53.0
#   after close(), a statement was prepared: t.db t.db-shm t.db-wal
#   after the garbage collection:            t.db
#   after close(), none was prepared:        t.db
#   statements can be finalised by hand:     no
#
# Exits with 1 when this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --ignore-scripts @photostructure/sqlite@1.2.1
cat >show.mjs <<'JS'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { DatabaseSync } from '@photostructure/sqlite';
const { version } = JSON.parse(readFileSync('node_modules/@photostructure/sqlite/package.json', 'utf8'));
const files = (folder) => readdirSync(folder).sort().join(' ');
function use(folder, isPrepared) {
  mkdirSync(folder);
  const database = new DatabaseSync(`${folder}/t.db`);
  database.exec('PRAGMA journal_mode = WAL; CREATE TABLE t (x)');
  const facts = { sqlite: '', canFinalise: false };
  if (isPrepared) {
    const statement = database.prepare('SELECT sqlite_version() AS v');
    facts.sqlite = statement.get().v;
    facts.canFinalise = Symbol.dispose in statement || 'finalize' in statement;
  }
  database.close();
  return facts;
}
const { sqlite, canFinalise } = use('prepared', true);
const afterClose = files('prepared');
use('plain', false);
const plain = files('plain');
globalThis.gc();
await new Promise((resolve) => setTimeout(resolve, 100));
const afterCollection = files('prepared');
console.log(`@photostructure/sqlite ${version}, SQLite ${sqlite}`);
console.log(`after close(), a statement was prepared: ${afterClose}`);
console.log(`after the garbage collection:            ${afterCollection}`);
console.log(`after close(), none was prepared:        ${plain}`);
console.log(`statements can be finalised by hand:     ${canFinalise ? 'yes' : 'no'}`);
const asSeen = afterClose === 't.db t.db-shm t.db-wal' && afterCollection === 't.db' && plain === 't.db' && !canFinalise;
process.exitCode = asSeen ? 0 : 1;
JS
node --expose-gc show.mjs
