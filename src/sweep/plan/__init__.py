"""`plan`: probes measure steps, an estimate adds them up for each row, and it fits or not."""

from src.sweep.plan.command import plan_command
