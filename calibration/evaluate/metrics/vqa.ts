/**
 * Accuracy on VQA by its authors' evaluation code (GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py at
 * a013f00, described on visualqa.org/evaluation.html), with its oddities: who compares with published numbers needs them.
 */

/** Removed where a space is beside any such sign or a comma is between digits, else made a space. */
const PUNCTUATION = [...';/[]"{}()=+\\_-><@`,?!'];

/** Of the authors' pattern `(?!<=\d)(\.)(?!\d)` only the second half does anything; they hand 32 over as the count. */
const MOST_FULL_STOPS = 32;

const NUMBERS = new Map(
  'none zero one two three four five six seven eight nine ten'
    .split(' ')
    .map((word, i) => [word, String(Math.max(0, i - 1))]),
);
const ARTICLES: ReadonlySet<string> = new Set(['a', 'an', 'the']);

/** Words whose apostrophe the authors put back; with two, either may be missing, but not both. */
const CONTRACTIONS =
  `ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't
not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd
where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all
y'all'll y'all'd've 'ow's'at you'd you'd've you'll you're you've`.split(/\s+/);

const withApostrophe = new Map(
  CONTRACTIONS.flatMap((word) =>
    Array.from(word.matchAll(/'/g), ({ index }) => [word.slice(0, index) + word.slice(index + 1), word] as const),
  ),
);
// The one that the authors' table has the other way round.
withApostrophe.set("somebody'd", 'somebodyd');

/** An answer as the official evaluation compares it. */
export function normaliseVqaAnswer(answer: string): string {
  return articlesAndNumbers(withoutPunctuation(answer));
}

/**
 * The official accuracy, 0–1: for each of the people's answers the others are looked at, and three of them that say the
 * same make it wholly right; the mean over all. Where all people agree nothing is normalised, the model's answer neither.
 * @param answers of people, ten as a rule
 */
export function vqaAccuracy(said: string, answers: readonly string[]): number {
  const given = answers.map(flat);
  return new Set(given).size > 1 ? normalisedAccuracy(said, given) : leaveOneOut(flat(said), given);
}

/** The same with normalisation always, as many evaluations of chat models have it: "Yes." is yes where all say yes, too. */
export function normalisedAccuracy(said: string, answers: readonly string[]): number {
  const normalised = answers.map((answer) => normaliseVqaAnswer(flat(answer)));
  return leaveOneOut(normaliseVqaAnswer(flat(said)), normalised);
}

function leaveOneOut(said: string, answers: readonly string[]): number {
  const same = answers.filter((answer) => answer === said).length;
  const credits = answers.map((answer) => Math.min(1, (same - (answer === said ? 1 : 0)) / 3));
  return credits.reduce((sum, credit) => sum + credit, 0) / answers.length;
}

const flat = (text: string): string => text.replaceAll(/[\n\t]/g, ' ').trim();

function withoutPunctuation(text: string): string {
  const commaInNumber = /\d,\d/.test(text);
  let out = text;
  for (const sign of PUNCTUATION) {
    const besideSpace = text.includes(`${sign} `) || text.includes(` ${sign}`);
    out = out.replaceAll(sign, besideSpace || commaInNumber ? '' : ' ');
  }
  let count = 0;
  return out.replaceAll(/\.(?!\d)/g, (stop) => (count++ < MOST_FULL_STOPS ? '' : stop));
}

function articlesAndNumbers(text: string): string {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return words
    .map((word) => NUMBERS.get(word) ?? word)
    .filter((word) => !ARTICLES.has(word))
    .map((word) => withApostrophe.get(word) ?? word)
    .join(' ');
}
