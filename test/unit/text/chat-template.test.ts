/** What transformers gives to chat templates (apply_chat_template), with templates that people publish. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseTemplate } from '#sdk/text/chat-template.js';
import { type PromptMessage, renderPrompt } from '#sdk/text/prompt.js';
import { strftime } from '#sdk/text/strftime.js';
import { loadTokenizer, type Tokenizer } from '#sdk/text/tokenizer.js';
import { tinyTokenizerJson, writeTokenizerFolder } from '../../support/tiny-tokenizer.js';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(await writeTokenizerFolder());
});

const text = (value: string) => ({ type: 'text', text: value }) as const;
const image = { type: 'image' } as const;
const question: PromptMessage[] = [{ role: 'user', parts: [image, text('What is it?')] }];
const fixture = async (name: string) => {
  const path = fileURLToPath(new URL(`../../fixtures/text/templates/${name}`, import.meta.url));
  return parseTemplate(await readFile(path, 'utf8'), name);
};
const ids = (rendered: string) => tokenizer.encodeTemplate(rendered);
const HEAD = '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n';
const TAIL = '<|start_header_id|>assistant<|end_header_id|>\n\n';

describe('a template is given', () => {
  test('eos_token, with which some end their turns', async () => {
    const rendered = renderPrompt(await fixture('eos-token.jinja'), tokenizer, question).ids;
    expect(Array.from(rendered)).toEqual(ids(`${HEAD}<|image|>What is it?<|eot_id|>${TAIL}`));
  });

  test('tools and documents as none', async () => {
    const rendered = renderPrompt(await fixture('tools-none.jinja'), tokenizer, question).ids;
    expect(Array.from(rendered)).toEqual(ids(`${HEAD}<|image|>What is it?<|eot_id|>${TAIL}`));
  });

  test('every token with a role, from tokenizer_config.json before special_tokens_map.json', async () => {
    const folder = await writeTokenizerFolder({
      'tokenizer_config.json': JSON.stringify({
        bos_token: { content: '<|begin_of_text|>' },
        eos_token: '<|end_of_text|>',
        unk_token: null,
      }),
      'special_tokens_map.json': JSON.stringify({
        eos_token: '<|eot_id|>',
        pad_token: { content: '<|finetune_right_pad_id|>' },
        unk_token: '<|python_tag|>',
      }),
    });
    const loaded = await loadTokenizer(folder);
    expect(Object.fromEntries(loaded.namedTokens)).toEqual({
      bos_token: '<|begin_of_text|>',
      eos_token: '<|end_of_text|>',
      pad_token: '<|finetune_right_pad_id|>',
    });
    expect(loaded.eosTokenId).toBe(loaded.specialTokenId('<|end_of_text|>'));
    const all = parseTemplate(
      '{{ bos_token }}{{ pad_token }}{{ unk_token }}{{ messages[0].content }}{{ eos_token }}',
      'x',
    );
    const rendered = renderPrompt(all, loaded, [{ role: 'user', parts: [text('a')] }]).ids;
    expect(Array.from(rendered)).toEqual(ids('<|begin_of_text|><|finetune_right_pad_id|>a<|end_of_text|>'));
  });

  test('an eos_token that is an ordinary token of the vocabulary', async () => {
    const vocabulary = tinyTokenizerJson().model.vocab;
    const folder = await writeTokenizerFolder({ 'tokenizer_config.json': JSON.stringify({ eos_token: 'label' }) });
    expect((await loadTokenizer(folder)).eosTokenId).toBe(vocabulary.label);
    const other = await writeTokenizerFolder({ 'tokenizer_config.json': JSON.stringify({ eos_token: '</s>' }) });
    expect((await loadTokenizer(other)).eosTokenId).toBeUndefined();
  });

  test('raise_exception, generation blocks, break and tojson', () => {
    const render = (source: string) => parseTemplate(source, 'x').render({ messages: [] });
    expect(render('{% generation %}a{% endgeneration %}')).toBe('a');
    expect(render('{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}')).toBe('1');
    expect(render("{{ {'a': [1]} | tojson }}")).toBe('{"a": [1]}');
    expect(() => render("{{ raise_exception('no') }}")).toThrow(
      expect.objectContaining({ code: 'ERR_PROMPT_INVALID' }),
    );
  });
});

/** The shape of the newer published template: a system message stays when there are pictures. */
const NEWER = `{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
    {%- set from_user = true %}
{%- else %}
    {%- set system_message = "" %}
    {%- set from_user = false %}
{%- endif %}
{% set seen = namespace(image=false) %}
{%- for message in messages %}
    {%- for content in message['content'] %}
        {%- if content['type'] == 'image' %}{%- set seen.image = true %}{%- endif %}
    {%- endfor %}
{%- endfor %}
{%- if from_user or not seen.image %}
    {{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
    {%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
    {{- system_message }}
    {{- "<|eot_id|>" }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for content in message['content'] %}
            {%- if content['type'] == 'image' %}{{- '<|image|>' }}{%- else %}{{- content['text'] }}{%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}`;

describe('the newer published template', () => {
  const newer = parseTemplate(NEWER, 'newer');

  test('keeps a system message beside a picture', () => {
    const system: PromptMessage = { role: 'system', parts: [text(' Be short. ')] };
    const block = '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe short.<|eot_id|>';
    expect(Array.from(renderPrompt(newer, tokenizer, [system, ...question]).ids)).toEqual(
      ids(`${block}${HEAD.replace('<|begin_of_text|>', '')}<|image|>What is it?<|eot_id|>${TAIL}`),
    );
  });

  test('takes no picture within the system message, which is said', () => {
    const system: PromptMessage = { role: 'system', parts: [image, text('Like this one.')] };
    expect(() => renderPrompt(newer, tokenizer, [system, ...question])).toThrow(
      expect.objectContaining({
        code: 'ERR_PROMPT_INVALID',
        message: expect.stringContaining('Put it into the user message'),
      }),
    );
  });
});

/** Written by CPython 3.11's `datetime.strftime` in the C locale. */
const ALL = '%Y %y %m %d %e %b %B %a %A %H %I %M %S %f %p %j %w %u %U %W %D %F %R %T %c %x %X %% %-d %-I|%z%Z|';
test.each([
  [
    new Date(2024, 6, 6, 0, 5, 9, 7),
    '2024 24 07 06  6 Jul July Sat Saturday 00 12 05 09 007000 AM 188 6 6 26 27 07/06/24 2024-07-06 00:05 00:05:09 Sat Jul  6 00:05:09 2024 07/06/24 00:05:09 % 6 12||',
  ],
  [
    new Date(2023, 0, 1, 12, 30, 1),
    '2023 23 01 01  1 Jan January Sun Sunday 12 12 30 01 000000 PM 001 0 7 01 00 01/01/23 2023-01-01 12:30 12:30:01 Sun Jan  1 12:30:01 2023 01/01/23 12:30:01 % 1 12||',
  ],
  [
    new Date(2024, 11, 31, 23, 59, 59),
    '2024 24 12 31 31 Dec December Tue Tuesday 23 11 59 59 000000 PM 366 2 2 52 53 12/31/24 2024-12-31 23:59 23:59:59 Tue Dec 31 23:59:59 2024 12/31/24 23:59:59 % 31 11||',
  ],
])('strftime of %s is that of Python', (date, expected) => {
  expect(strftime(date, ALL)).toBe(expected);
  expect(strftime(date, '%Q 100%')).toBe('%Q 100%');
});
