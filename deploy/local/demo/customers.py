"""The twelve customers of the demo's product, and what happens to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Story(StrEnum):
    """What the thirty days bring an account."""

    STEADY = "is steady"
    DECLINES = "declines"
    FALLS_SILENT = "falls silent"
    OPENS_URGENT_TICKET = "opens an urgent ticket"
    GROWS = "grows"


@dataclass(frozen=True)
class Customer:
    """An account as its traits tell it. ``people`` work with the product when the story begins; ``arr`` is annual
    recurring revenue, ``renews_in_days`` counts from the day on which the thirty days begin."""

    account_id: str
    name: str
    industry: str
    plan: str
    arr: int
    seats: int
    people: int
    renews_in_days: int
    owner: str
    contact_name: str
    story: Story = Story.STEADY

    @property
    def domain(self) -> str:
        return f"{self.account_id}.example"

    @property
    def contact_email(self) -> str:
        return f"{self.contact_name.split()[0].lower()}@{self.domain}"


_SATO, _OKAFOR, _POOL = "Mika Sato", "Daniel Okafor", "Customer success team"

CUSTOMERS = (
    Customer(
        "tanaka-robotics", "Tanaka Robotics", "Manufacturing", "enterprise", 240_000, 38, 26, 118, _SATO,
        "Kenji Tanaka", Story.DECLINES,
    ),
    Customer(
        "nordlicht-freight", "Nordlicht Freight", "Logistics", "enterprise", 180_000, 44, 21, 260, _OKAFOR,
        "Greta Lindholm",
    ),
    Customer(
        "alder-mutual", "Alder Mutual", "Insurance", "enterprise", 150_000, 30, 19, 201, _SATO, "Thomas Alder",
    ),
    Customer(
        "copperline", "Copperline Energy", "Energy", "business", 42_000, 14, 9, 300, _POOL, "Sofia Reyes",
        Story.OPENS_URGENT_TICKET,
    ),
    Customer(
        "brightwater", "Brightwater Clinics", "Health care", "business", 36_000, 12, 8, 240, _POOL,
        "Amara Nwosu", Story.GROWS,
    ),
    Customer(
        "kestrel-maps", "Kestrel Maps", "Software", "business", 30_000, 20, 8, 190, _POOL, "Owen Pryce",
    ),
    Customer(
        "lumen-press", "Lumen Press", "Publishing", "business", 24_000, 12, 7, 320, _POOL, "Clara Voss",
    ),
    Customer(
        "hoshino-foods", "Hoshino Foods", "Food", "business", 18_000, 18, 7, 270, _POOL, "Ren Hoshino",
    ),
    Customer(
        "petal-and-stem", "Petal & Stem", "Retail", "starter", 3_600, 4, 3, 150, _POOL, "Ana Petrova",
        Story.FALLS_SILENT,
    ),
    Customer(
        "riverbend-yoga", "Riverbend Yoga", "Fitness", "starter", 2_400, 4, 3, 210, _POOL, "Maya Collins",
    ),
    Customer(
        "atelier-moreau", "Atelier Moreau", "Design", "starter", 4_800, 5, 4, 280, _POOL, "Louis Moreau",
    ),
    Customer(
        "quill-tutors", "Quill Tutors", "Education", "starter", 3_000, 6, 3, 330, _POOL, "Ines Duarte",
    ),
)  # fmt: skip


def the_one_that(story: Story) -> Customer:
    """The only customer with this story."""
    (found,) = (customer for customer in CUSTOMERS if customer.story is story)
    return found
