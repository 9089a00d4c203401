/**
 * Conversation templates of the `internvl_chat` layout. Its models do not use a chat template of the folder: config.json
 * names one of these by `template`, and the prompt is system + separator, then role + message + separator a turn.
 */
import { VlmError } from '../../contracts/errors.js';
import type { ChatMessage } from '../../contracts/node.js';

export interface ConversationTemplate {
  readonly system: string;
  /** What stands before the message of each role. */
  readonly roles: { readonly system: string; readonly user: string; readonly assistant: string };
  readonly separator: string;
}

const CHATML_ROLES = {
  system: '<|im_start|>system\n',
  user: '<|im_start|>user\n',
  assistant: '<|im_start|>assistant\n',
} as const;

/** The system messages are part of the models: they were trained with these very words. */
const FIRST_SYSTEM =
  '你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。';
const LATER_SYSTEM =
  '你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。';

export const CONVERSATIONS: Readonly<Record<string, ConversationTemplate>> = {
  internvl2_5: { system: LATER_SYSTEM, roles: CHATML_ROLES, separator: '<|im_end|>\n' },
  'Hermes-2': { system: FIRST_SYSTEM, roles: CHATML_ROLES, separator: '<|im_end|>' },
  'internlm2-chat': { system: FIRST_SYSTEM, roles: CHATML_ROLES, separator: '<|im_end|>' },
  'phi3-chat': {
    system: FIRST_SYSTEM,
    roles: { system: '<|system|>\n', user: '<|user|>\n', assistant: '<|assistant|>\n' },
    separator: '<|end|>',
  },
};

const LITERAL = '<image>';

/**
 * Where an image goes, in the written prompt. Unlike the reference's bare `<image>` it is told apart from the same word
 * in a question, an answer or a system message, which stays a word.
 */
export const PLACEHOLDER = `\uFFFC${LITERAL}\uFFFC`;

/** The first `images` literals of a text become places of images; null when it has fewer. */
function placedByText(text: string, images: number): string | null {
  const pieces = text.split(LITERAL);
  if (pieces.length - 1 < images) return null;
  return pieces.reduce((written, piece, i) => written + (i <= images ? PLACEHOLDER : LITERAL) + piece);
}

function plainText(message: ChatMessage): string {
  if (typeof message.content === 'string') return message.content;
  return message.content.map((part) => (part.type === 'text' ? part.text : '')).join('');
}

function imageParts(message: ChatMessage): number {
  return typeof message.content === 'string' ? 0 : message.content.filter((part) => part.type === 'image').length;
}

/**
 * Messages as the model's own examples write them: content is text, an image is `<image>` on a line of its own, and
 * several are numbered (`Image-1: <image>`). A text that holds `<image>` for each image of its message has placed them
 * itself. The model's system message comes first unless the conversation brings one.
 */
export function writeMessages(messages: readonly ChatMessage[], system: string): readonly ChatMessage[] {
  const total = messages.reduce((n, message) => n + imageParts(message), 0);
  let seen = 0;
  const written = messages.map((message): ChatMessage => {
    const text = plainText(message);
    const images = imageParts(message);
    if (images === 0) return { role: message.role, content: text };
    const placed = placedByText(text, images);
    if (placed !== null) {
      seen += images;
      return { role: message.role, content: placed };
    }
    const parts = typeof message.content === 'string' ? [] : message.content;
    const content = parts.map((part) => {
      if (part.type === 'text') return part.text;
      seen += 1;
      return total > 1 ? `Image-${seen}: ${PLACEHOLDER}\n` : `${PLACEHOLDER}\n`;
    });
    return { role: message.role, content: content.join('') };
  });
  return written[0]?.role === 'system' ? written : [{ role: 'system', content: system }, ...written];
}

/** Renders written messages. Throws TEMPLATE_INVALID for roles the template does not know. */
export function renderConversation(
  template: ConversationTemplate,
  messages: readonly ChatMessage[],
  addGenerationPrompt: boolean,
  where: string,
): string {
  const { roles, separator } = template;
  const turns = messages.map(({ role, content }, i) => {
    const known = role === 'user' || role === 'assistant' || (role === 'system' && i === 0);
    if (!known || typeof content !== 'string') {
      throw new VlmError('TEMPLATE_INVALID', {
        what: 'The conversation does not fit the model’s template',
        expected: 'one system message at the start at most, then user and assistant messages',
        received: `a message of role ${JSON.stringify(role)} at place ${i + 1}`,
        where,
        hint: 'correct the roles of the messages',
      });
    }
    // A turn without text is an open one; the system block is always closed.
    return role === 'system' || content !== '' ? `${roles[role]}${content}${separator}` : roles[role];
  });
  return `${turns.join('')}${addGenerationPrompt ? roles.assistant : ''}`;
}
