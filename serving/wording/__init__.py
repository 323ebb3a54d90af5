"""What models and rules found comes in, reasons as codes go out; and codes come in, words of a language go out.

Start reading at `reason_codes`; `explanations` makes reasons of models, `rendering` makes words of reasons.
"""
