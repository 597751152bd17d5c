"""What Slackwater's operator and its Airflow package share: pure Python, no dependencies.

* `parameters`: what people write into the description of an event.
* `document`: the windows file, which the operator writes and Airflow reads.
* `page`: the tide table, the same document as one HTML page.
"""
