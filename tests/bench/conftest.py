from tests.small_networks import make_model, make_pair

__all__ = ["make_model", "make_pair"]
