"""Teacher networks: other people's networks that label training images and serve for comparison; none of them is shipped."""
