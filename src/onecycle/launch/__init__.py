"""Other engines that train our recipes, each behind an extra of the package."""
