"""Published logs become trace files."""

import json

from bench.convert import converted, helios, philly
from slackwater.backtest.formats import JOBS, read, write_rows


def test_a_philly_job_lasts_as_long_as_its_attempts(tmp_path):
    jobs = [
        {
            "submitted_time": "2017-10-07 02:06:14",
            "attempts": [
                {
                    "start_time": "2017-10-07 02:10:00",
                    "end_time": "2017-10-07 02:20:00",
                    "detail": [{"ip": "m1", "gpus": ["gpu0", "gpu1"]}],
                },
                {
                    "start_time": "2017-10-07 03:00:00",
                    "end_time": "2017-10-07 04:00:00",
                    "detail": [{"ip": "m1", "gpus": ["gpu0"]}, {"ip": "m2", "gpus": ["gpu1"]}],
                },
            ],
        },
        {"submitted_time": "2017-10-07 01:00:00", "attempts": []},
    ]
    log = tmp_path / "cluster_job_log"
    log.write_text(json.dumps(jobs))
    rows = converted(philly(log))
    assert rows == [(5 * 86400 + 2 * 3600 + 6 * 60 + 14, 4200, 2)]
    write_rows(tmp_path / "out.csv.gz", JOBS, rows)
    assert read(tmp_path / "out.csv.gz").jobs.duration.tolist() == [70]


def test_a_helios_log_keeps_gpu_jobs_alone(tmp_path):
    log = tmp_path / "cluster_log.csv"
    log.write_text(
        "job_id,user,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue\n"
        "b,u1,8,64,1,COMPLETED,2020-05-28 00:01:00,2020-05-28 00:01:05,2020-05-28 00:03:05,120,5\n"
        "a,u1,0,4,1,COMPLETED,2020-05-28 00:00:00,2020-05-28 00:00:00,2020-05-28 00:00:09,9,0\n"
    )
    assert converted(helios(log)) == [(3 * 86400 + 60, 120, 8)]
