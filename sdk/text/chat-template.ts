/** Finds and parses a checkpoint's chat template. */
import { join } from 'node:path';
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { strftime } from './strftime.js';
import { parseJsonObject, readTextFile } from './text-file.js';
import type { Tokenizer } from './tokenizer.js';

/** The layout of Llama 3.2 Vision Instruct for folders that bring no template of their own. */
const DEFAULT_TEMPLATE = `{{- bos_token }}
{%- set seen = namespace(image=false, system=false) %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}{% set seen.system = true %}{% endif %}
    {%- if message['content'] is not string %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}{% set seen.image = true %}{% endif %}
        {%- endfor %}
    {%- endif %}
{%- endfor %}
{%- if seen.image and seen.system %}
    {{- raise_exception('Prompting with images is incompatible with system messages.') }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}{{- '<|image|>' }}{% else %}{{- part['text'] }}{% endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}`;

const DEFAULT_ORIGIN = 'default';

export interface ChatTemplate {
  /** File it came from, or `default`. */
  readonly origin: string;
  /** @throws SdkError ERR_PROMPT_INVALID for what the template refuses; anything else when rendering fails. */
  render(variables: Readonly<Record<string, unknown>>): string;
}

/**
 * Looks into chat_template.jinja, chat_template.json and tokenizer_config.json, in the order in which newer writers
 * put it, and falls back to the Llama 3.2 Vision layout.
 * @throws SdkError ERR_TOKENIZER_INVALID for a template that does not parse, ERR_LIMIT_EXCEEDED
 */
export async function loadChatTemplate(directory: string, tokenizer: Pick<Tokenizer, 'config'>): Promise<ChatTemplate> {
  const jinjaPath = join(directory, 'chat_template.jinja');
  const source = await readTextFile(jinjaPath, LIMITS.configFileBytes);
  if (source !== undefined) return parseTemplate(source, jinjaPath);

  const jsonPath = join(directory, 'chat_template.json');
  const json = await readTextFile(jsonPath, LIMITS.configFileBytes);
  if (json !== undefined) {
    const template = templateOf(parseJsonObject(json, jsonPath).chat_template);
    if (template === undefined) {
      throw new SdkError('ERR_TOKENIZER_INVALID', `Expected a string "chat_template" in ${jsonPath}.`);
    }
    return parseTemplate(template, jsonPath);
  }

  const configured = templateOf(tokenizer.config.chat_template);
  if (configured !== undefined) return parseTemplate(configured, join(directory, 'tokenizer_config.json'));
  return parseTemplate(DEFAULT_TEMPLATE, DEFAULT_ORIGIN);
}

/** What to tell people about a folder without a template of its own, as those of base models are. */
export function withoutTemplate(template: ChatTemplate): string | undefined {
  if (template.origin !== DEFAULT_ORIGIN) return undefined;
  return (
    'the folder has no chat template, as base models have none: questions get the layout of Llama 3.2 Vision Instruct, ' +
    'which a base model was not trained on. Use complete() for a base model; copy chat_template.json for another.'
  );
}

/** A string, or a list of named templates of which `default` is ours. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = (value as { name?: unknown; template?: unknown }[]).find((entry) => entry?.name === 'default');
  return typeof named?.template === 'string' ? named.template : undefined;
}

/**
 * Parses a Jinja chat template; `origin` names it in errors.
 * @throws SdkError ERR_TOKENIZER_INVALID for one that does not parse
 */
export function parseTemplate(source: string, origin: string): ChatTemplate {
  try {
    const template = new Template(source);
    return {
      origin,
      render: (variables) => {
        const result = new Interpreter(environment(origin, variables)).run(template.parsed);
        return String((result as { value: unknown }).value);
      },
    };
  } catch (error) {
    throw new SdkError(
      'ERR_TOKENIZER_INVALID',
      `Expected a Jinja chat template in ${origin} but it does not parse: ${(error as Error).message}.`,
      { cause: error, details: { origin } },
    );
  }
}

/** Longest list that a template may count through; a hostile one would otherwise never end. */
const MAX_RANGE = 10_000;

/**
 * What Hugging Face gives to templates. The library has its own, but its `raise_exception` cannot be told from a
 * failure, its month names follow the machine's language, and its `range` has no bound.
 */
function environment(origin: string, variables: Readonly<Record<string, unknown>>): Environment {
  const globals: Record<string, unknown> = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    raise_exception: (message: unknown) => {
      throw refusal(String(message), origin);
    },
    range,
    strftime_now: (format: string) => strftime(new Date(), format),
  };
  const scope = new Environment();
  for (const [name, value] of Object.entries({ ...globals, ...variables })) scope.set(name, value);
  return scope;
}

function refusal(message: string, origin: string): SdkError {
  const remedy =
    /image/i.test(message) && /system/i.test(message)
      ? ' Put the instructions into the user message, after the image.'
      : '';
  return new SdkError('ERR_PROMPT_INVALID', `The model's chat template refuses these messages: ${message}${remedy}`, {
    details: { template: origin, reason: message },
  });
}

function range(...bounds: number[]): number[] {
  const [start, end, step] = bounds.length === 1 ? [0, bounds[0]!, 1] : [bounds[0]!, bounds[1]!, bounds[2] ?? 1];
  const length = Math.max(0, Math.ceil((end - start) / step));
  if (!(length <= MAX_RANGE)) throw new RangeError(`range() of ${length} steps; at most ${MAX_RANGE} are allowed`);
  return Array.from({ length }, (_, i) => start + i * step);
}
