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
}
