/** An event in words. */
import type { GroundedBox, TimelineEvent } from '../../../../api/schemas.js';
import { percent, wordsOf } from '../../words.js';

interface Said {
  readonly text: string;
  readonly sentence?: string;
  readonly objects: readonly GroundedBox[];
  readonly probability?: number;
}

const BECAME = { new: 'began', update: 'changed', end: 'ended' } as const;

export function say({ kind, body }: TimelineEvent): { readonly title: string; readonly text: string } {
  const answer = body.answer as Said | null | undefined;
  const message = (name: string) => (body[name] as { readonly message?: string } | null)?.message;
  const said = answer && `${answer.sentence ?? answer.text}${sure(answer.probability)}`;
  switch (kind) {
    case 'scene':
      return { title: `description (${String(body.trigger)})`, text: said ?? '' };
    case 'answer':
      return { title: 'answer', text: said ?? message('error') ?? '' };
    case 'watch': {
      const value = wordsOf(body.value as boolean | number | string);
      const became = BECAME[body.type as keyof typeof BECAME];
      return { title: `watch ${String(body.watch)} ${became}`, text: `${value}${sure(body.probability)}` };
    }
    case 'status':
      return { title: 'camera', text: [String(body.state), message('reason')].filter(Boolean).join(': ') };
    default:
      return { title: `problem of ${String(body.part)}`, text: message('problem') ?? 'It is well again.' };
  }
}

export function objectsOf({ body }: TimelineEvent): readonly GroundedBox[] {
  const { answer, evidence } = body as { readonly answer?: Said | null; readonly evidence?: Pick<Said, 'objects'> };
  return answer?.objects ?? evidence?.objects ?? [];
}

function sure(probability: unknown): string {
  return typeof probability === 'number' ? ` (${percent(probability)} sure)` : '';
}
