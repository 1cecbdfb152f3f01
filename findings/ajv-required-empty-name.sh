#!/usr/bin/env bash
# ajv 8 takes `required: [""]` for met by any object, unless `allErrors` is set: the generated code collects the first
# missing name in a variable and then asks whether that is truthy, which '' is not. JSON Schema has no exception for
# the empty name. With other names, and with `allErrors`, the answers are right.
#
# Output seen with 8.20.0 on Node 20, Linux x64:
#   ajv 8.20.0
#   required [""],   {}: valid
#   required [""],   {}, allErrors: invalid
#   required ["a"],  {}: invalid
#
# Exits with 1 when this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --ignore-scripts ajv@8.20.0
cat >show.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
const { version } = JSON.parse(readFileSync('node_modules/ajv/package.json', 'utf8'));
const isValid = (name, options) => new Ajv2020(options).compile({ type: 'object', required: [name] })({});
const say = (valid) => (valid ? 'valid' : 'invalid');
const [empty, all, letter] = [isValid('', {}), isValid('', { allErrors: true }), isValid('a', {})];
console.log(`ajv ${version}`);
console.log(`required [""],   {}: ${say(empty)}`);
console.log(`required [""],   {}, allErrors: ${say(all)}`);
console.log(`required ["a"],  {}: ${say(letter)}`);
process.exit(empty && !all && !letter ? 0 : 1);
JS
node show.mjs
