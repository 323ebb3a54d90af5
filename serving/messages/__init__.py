"""Messages: the texts of offers, filled in for each reader and in their language.

Input: texts of offers, and what is known about their readers. Output: messages. Start reading at `text_choice`. Only
`template_sandbox` runs templates that people wrote; `checked_texts` refuses bad texts before anything is written, and
`written_messages` fills them in.
"""
