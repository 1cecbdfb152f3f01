/**
 * Whether a prompt is certainly not English. The models' card names English alone for pictures, and eight languages for
 * text; prompts are short, so that statistics over letters say little: scripts and the commonest words do. In doubt: English.
 */

/** A language of the card other than English, or `other`: certainly none of Latin letters, and none that is named here. */
export type PromptLanguage = 'German' | 'French' | 'Italian' | 'Portuguese' | 'Hindi' | 'Spanish' | 'Thai' | 'other';

interface Words {
  /** Say by themselves which language it is. */
  readonly strong: ReadonlySet<string>;
  /** Occur in names and loan words too (`Café de la Paix`): they count beside a strong one. */
  readonly weak: ReadonlySet<string>;
}

const words = (strong: string, weak: string): Words => ({
  strong: new Set(strong.split(/\s+/)),
  weak: new Set(weak.split(/\s+/)),
});

/** No word that English has too: `was`, `die`, `in`, `on`, `me`, `son`, `come`, `more`, `pour` and the like are missing. */
const LATIN: Readonly<Record<Exclude<PromptLanguage, 'Hindi' | 'Thai' | 'other'>, Words>> = {
  German: words(
    'ist sind wo wer wie viele wieviele welche welcher welches warum gibt es steht siehst siehe auf dem diesem diesen dieser dieses bitte beschreibe nicht kein keine eine einen einem einer und oder mit zeigt bild foto ich auch sehen befindet',
    'der das den des du ein im am zu von vom zum',
  ),
  French: words(
    'est sont où qui que quoi quel quelle quels quelles combien pourquoi décris décrivez avec dans sur cette ces il elle y vois voyez une est-ce pas aussi se trouve trouvent',
    'le la les du des de un et au aux à sous ce l d qu',
  ),
  Italian: words(
    'è sono dove dov cosa chi quale quali quanti quante quanto perché descrivi nella nel nello nell questa questo questi queste c’è ci che cos quest non anche una vedi immagine',
    'il lo la gli le di del della un e con per da su alla al l c',
  ),
  Portuguese: words(
    'é são onde está estão quem que qual quais quantos quantas porque descreva descreve nesta neste esta este há na não também uma um vê imagem foto',
    'o os as do da dos das de em e com para ao à no',
  ),
  Spanish: words(
    'es está están dónde donde quién qué que cuál cuáles cuántos cuántas cuánto por describe describa esta este hay una no también ves imagen foto muestra',
    'el la los las de del en un y con para al lo se',
  ),
};

const ENGLISH: ReadonlySet<string> = new Set(
  'the is are was were what where who whom whose which how many much why when there this that these those it its of and or not with from can could do does did you your see any please describe name count read tell show picture image photo in on at to for a an left right'.split(
    ' ',
  ),
);
/** English too, but no proof of it where words of another language stand around them. */
const SHARED: ReadonlySet<string> = new Set(['a', 'an', 'in', 'on', 'do', 'was', 'image', 'describe', 'to', 'at']);

/** Scripts that no language here is written in but the one named; a prompt in them is not English. */
const SCRIPTS: readonly (readonly [RegExp, PromptLanguage])[] = [
  [/\p{Script=Devanagari}/gu, 'Hindi'],
  [/\p{Script=Thai}/gu, 'Thai'],
];
/** What may be read off a sign and quoted is no language of the prompt. */
const QUOTED = /"[^"]*"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|‘[^’]*’|(?<!\p{L})'[^']*'(?!\p{L})/gu;

/**
 * The language of a prompt where it is certainly not English; undefined: English, or too little to tell.
 * @example
 * foreignLanguage('Wo ist die rote Tasse?'); // 'German'
 */
export function foreignLanguage(prompt: string): PromptLanguage | undefined {
  const text = prompt.normalize('NFC').replace(QUOTED, ' ');
  return languageOfScript(text) ?? languageOfWords(text);
}

function languageOfScript(text: string): PromptLanguage | undefined {
  const letters = count(text, /\p{L}/gu);
  const latin = count(text, /\p{Script=Latin}/gu);
  if (letters - latin < 2 || latin > letters / 2) return undefined;
  const named = SCRIPTS.find(([script]) => count(text, script) > letters / 2);
  return named?.[1] ?? 'other';
}

function languageOfWords(text: string): PromptLanguage | undefined {
  const found = text.toLowerCase().match(/\p{L}+(?:-\p{L}+)*/gu) ?? [];
  const english = found.filter((word) => ENGLISH.has(word) && !SHARED.has(word));
  let best: { readonly language: PromptLanguage; readonly score: number } | undefined;
  for (const [language, { strong, weak }] of Object.entries(LATIN) as [keyof typeof LATIN, Words][]) {
    const marks = language === 'Spanish' && /[¿¡]/u.test(text) ? 1 : 0;
    const isStrong = found.filter((word) => strong.has(word)).length + marks;
    const score = isStrong + found.filter((word) => weak.has(word)).length / 2;
    const foreign = found.filter((word) => strong.has(word) || weak.has(word)).length + marks;
    // Two words at least, one of them no article, and far more of them than of English.
    const isSure = isStrong >= 1 && foreign >= 2 && foreign > 2 * english.length;
    if (isSure && score > (best?.score ?? 0)) best = { language, score };
  }
  return best?.language;
}

function count(text: string, letter: RegExp): number {
  return text.match(letter)?.length ?? 0;
}
