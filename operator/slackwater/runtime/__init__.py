"""When Slackwater acts: the engine between the pure core and the world.

`engine` takes in what the store says, keeps one follower per Calendar, GPUPool and AirflowInstance,
looks at each TrainingWindow whenever something about it changed or a timer rings, and carries out
what `core.decide` decided. `app` puts it together with real adapters.
"""
