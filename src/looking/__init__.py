"""Looking at photographs, labels and mistakes: pages and tables that a person can judge."""

from src.looking.report import write_report
from src.looking.triage import triage
