// What a deployment's parts are called on the page.
import { nodes } from '../core/store.js';
import { staysPut } from './deployments.js';

export const nodeName = (id) => nodes.get(id)?.name ?? id ?? 'a node';

/** A place as people say it. */
export const placeText = (placement) => [nodeName(placement.node_id), placement.runtime_profile, placement.image].filter(Boolean).join(' · ');

/** A step's name and what it means for those who use the bot. */
export function stepWords(step, deployment) {
  const source = nodeName(deployment.source.node_id), target = nodeName(deployment.target.node_id);
  switch (step) {
    case 'preflight': return ['Check once more', 'Nothing has been changed yet.'];
    case 'pre_copy': return [`Copy to ${target}`, 'The bot goes on answering meanwhile.'];
    case 'stop': return ['Finish open turns and stop', 'New messages wait on the hub until it is back.'];
    case 'delta_copy': return ['Copy what has changed since', 'The bot is away now.'];
    case 'verify': return ['Compare every file', 'The copy takes its place only when it is the same to the last byte.'];
    case 'start': return [`Start on ${target}`, ''];
    case 'healthy': return ['Wait until it is ready', 'It has 90 s to say so; otherwise everything goes back.'];
    case 'commit': return ['Hand over', 'Waiting messages go to it. There is no way back from here, but a rollback.'];
    case 'clean_up': return [`Tidy up on ${source}`, ''];
    default: return [step.replaceAll('_', ' '), ''];
  }
}

/** What is being done, as a heading. */
export function doing(deployment, bot) {
  const name = bot?.name ?? 'The bot';
  if (deployment.state === 'returning') return `Bringing ${name} back to ${nodeName(deployment.source.node_id)}`;
  return staysPut(deployment) ? `Deploying ${name} on ${nodeName(deployment.target.node_id)}` : `Moving ${name} to ${nodeName(deployment.target.node_id)}`;
}

/** How it ended, in one sentence. */
export function outcome(deployment, bot) {
  const name = bot?.name ?? 'The bot';
  const source = nodeName(deployment.source.node_id), target = nodeName(deployment.target.node_id);
  const runs = deployment.steps.includes('healthy');
  if (deployment.state === 'succeeded') {
    if (staysPut(deployment)) return `${name} ${runs ? 'runs' : 'is set up'} on ${target} with the profile ${deployment.target.runtime_profile}.`;
    return `${name} ${runs ? 'runs' : 'is now'} on ${target}.`;
  }
  const [step] = stepWords(deployment.failed_step ?? deployment.step, deployment);
  return deployment.state === 'cancelled' ? `Cancelled at “${step}”. ${name} is on ${source}, as before.` : `It went wrong at “${step}”. ${name} is on ${source}, as before.`;
}
