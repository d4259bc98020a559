"""What is learned beyond picking patches: memories of averages, generators, students.

Pure arithmetic on patch features; when and with whom is for `fedpatchcore.site` and
`fedpatchcore.server` to say.
"""
