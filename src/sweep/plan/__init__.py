"""`plan`: probes measure steps, they are added up for each row, and the rows fit or not."""

from src.sweep.plan.command import plan_command, planned_before
