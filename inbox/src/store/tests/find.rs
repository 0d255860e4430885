use super::*;

async fn found(test: &DriverStore, key: SearchKey, hook: Option<&str>) -> Vec<i64> {
    test.driver().find(&key, hook).await.unwrap().into_iter().map(|entry| entry.id).collect()
}

fn generation(id: &str) -> SearchKey {
    SearchKey::Generation(id.to_owned())
}

fn of_hook(hook: &str, arrival: Arrival) -> Arrival {
    Arrival { hook: hook.to_owned(), ..arrival }
}

in_both! {
    async fn finds_the_entries_of_a_generation_in_each_lane(test: &mut DriverStore) {
        let quarantined = Arrival { generation: Some(ONE.to_owned()), ..quarantined("q", "t") };
        test.store(&[
            completed("a"), quarantined.clone(), observed("o"), completed("b").of(TWO), of_hook("another", completed("c")),
            of_hook("zebra", quarantined), of_hook("another", observed("p")),
        ]).await;
        let ids = test.ids().await;
        let of = |places: &[usize]| places.iter().map(|place| ids[*place]).collect::<Vec<_>>();
        assert_eq!(found(test, generation(ONE), None).await, of(&[6, 5, 4, 2, 1, 0]));
        assert_eq!(found(test, generation(ONE), Some("veo3")).await, of(&[2, 1, 0]));
        assert_eq!(found(test, generation(TWO), None).await, of(&[3]));
        assert_eq!(found(test, generation(TWO), Some("zebra")).await, NONE);
        assert_eq!(found(test, generation("' OR true --"), None).await, NONE);
        test.store(&vec![observed("o"); 150]).await;
        let newest = found(test, generation(ONE), None).await;
        let last = *test.ids().await.last().unwrap();
        assert_eq!((newest.len(), newest[0]), (100, last), "the newest 100");
    }

    async fn finds_the_entries_of_a_job_and_of_a_request(test: &mut DriverStore) {
        let with = |job: &str, request: &str, arrival: Arrival| {
            let ids = RequestIds { request_id: Some(request.to_owned()), traceparent: None };
            Arrival { job: Some(job.to_owned()), ids, ..arrival }
        };
        test.store(&[with("j", "r-1", completed("a")), with("j", "r-2", quarantined("b", "t")), of_hook("zebra", with("j", "r-1", completed("c")))]).await;
        let ids = test.ids().await;
        let job = |job: &str| SearchKey::Job(job.to_owned());
        let request = |id: &str| SearchKey::RequestId(id.to_owned());
        assert_eq!(found(test, job("j"), None).await, [ids[2], ids[1], ids[0]]);
        assert_eq!(found(test, job("j"), Some("zebra")).await, [ids[2]]);
        assert_eq!(found(test, job("J"), None).await, NONE);
        assert_eq!(found(test, request("r-1"), None).await, [ids[2], ids[0]]);
        assert_eq!(found(test, request("r-1"), Some("veo3")).await, [ids[0]]);
        assert_eq!(found(test, request("r-3"), None).await, NONE);
    }

    async fn finds_the_expectation_of_a_generation_among_any_number(test: &mut DriverStore) {
        for hook in ["another", "veo3"] {
            let announced = Announcement { hook: hook.to_owned(), generation: ONE.to_owned(), job: "j".to_owned() };
            test.driver().expect(&announced, 1).await.unwrap();
        }
        test.sql("UPDATE expectation SET expected_at = CASE hook WHEN 'veo3' THEN 2 ELSE 1 END").await;
        // More newer ones than a search by job reads.
        test.sql("INSERT INTO expectation (hook, generation, job, state, expected_at, ask_at)
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200001)
            SELECT CASE n WHEN 7 THEN 'zebra' ELSE 'veo3' END, 'g' || n, 'k', 'arrived', n + 2, n FROM n").await;
        let found = async |key: SearchKey, hook: Option<&str>| {
            let found = test.driver().expectations_of(&key, hook).await.unwrap();
            found.into_iter().map(|expectation| expectation.hook).collect::<Vec<_>>()
        };
        assert_eq!(found(generation(ONE), None).await, ["veo3", "another"]);
        assert_eq!(found(generation(ONE), Some("another")).await, ["another"]);
        assert_eq!(found(generation("g7"), None).await, ["zebra"]);
        assert_eq!(found(generation("g7"), Some("veo3")).await, Vec::<String>::new());
        assert_eq!(found(generation(TWO), None).await, Vec::<String>::new());
        // The job is in no index.
        assert_eq!(found(SearchKey::Job("j".to_owned()), None).await, Vec::<String>::new());
        assert_eq!(found(SearchKey::Job("k".to_owned()), Some("zebra")).await, ["zebra"]);
    }
}
