"""Video files, cameras and streams: decoded ahead of the network, segmented frame after frame.

``sources`` says what is a video, ``decoding`` opens it and gives its frames, ``choice`` picks among these, ``pixels``
makes upright RGB pictures of them, ``ahead`` does all that in a thread; ``predict`` is the way from Python and ``run``
that of the command. PyAV (FFmpeg) decodes; it is imported when a video is opened.
"""
