"""What notebooks need around their work: parameters, a name, tables and text that read well.

Never torch, so that a misspelt parameter is refused at once.
"""

from src.notebook.display import as_table, printed_as_text, show_text
from src.notebook.drawing import BLUE, GREY, ORANGE, PALE, new_figure
from src.notebook.run import Run, check_names, notebook_name, read_flag, read_variant, start
from src.notebook.summary import next_steps, variant_table
