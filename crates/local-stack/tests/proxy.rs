//! The proxy in front of a server that answers every line with the same line.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use local_stack::{Moment, Proxy};

/// Longer than anything takes that happens, shorter than a test may last.
const BOUND: Duration = Duration::from_secs(10);
/// How long is watched that nothing happens.
const QUIET: Duration = Duration::from_millis(100);

/// A server of lines behind a proxy, what the server was told, and each time that it has answered.
struct Scene {
    proxy: Proxy,
    heard: Receiver<String>,
    answered: Receiver<()>,
}

impl Scene {
    fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::before(&listener.local_addr().unwrap().to_string()).unwrap();
        let (tell, heard) = channel();
        let (note, answered) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, note) = (tell.clone(), note.clone());
                std::thread::spawn(move || {
                    let mut answers = stream.try_clone().unwrap();
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        if tell.send(line.clone()).is_err() || writeln!(answers, "{line}").is_err() {
                            return;
                        }
                        let _ = note.send(());
                    }
                });
            }
        });
        Self { proxy, heard, answered }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy.address()).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream
    }

    fn heard(&self) -> Option<String> {
        self.heard.recv_timeout(BOUND).ok()
    }
}

fn say(mut stream: &TcpStream, words: &str) {
    writeln!(stream, "{words}").unwrap();
}

/// The next line of the server; `None` at the end of the connection.
fn answer(stream: &TcpStream) -> Option<String> {
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_said_is_answered_and_an_end_is_passed_on() {
    let scene = Scene::begin();
    let (one, other) = (scene.connect(), scene.connect());
    say(&one, "first");
    say(&other, "second");
    assert_eq!((answer(&one), answer(&other)), (Some("first".into()), Some("second".into())));
    say(&one, "third");
    one.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((answer(&one), answer(&one)), (Some("third".into()), None));
    assert_eq!(scene.proxy.cuts(), 0);
}

/// Cuts at `commit`: whether the server hears it is what the moment says, an answer never comes.
fn check(moment: Moment, is_heard: bool) {
    let scene = Scene::begin();
    scene.proxy.cut_at(b"commit", moment);
    let (one, other) = (scene.connect(), scene.connect());
    say(&one, "begin");
    assert_eq!(answer(&one).as_deref(), Some("begin"));
    assert_eq!(scene.heard().as_deref(), Some("begin"));
    assert!(scene.proxy.is_armed());
    say(&one, "commit");
    assert_eq!(answer(&one), None, "{moment:?}");
    assert!(!scene.proxy.is_armed());
    // The other connection knows nothing of it, and the marker is used up.
    say(&other, "commit");
    assert_eq!(answer(&other).as_deref(), Some("commit"));
    let times = if is_heard { 2 } else { 1 };
    let heard: Vec<_> = (0..times).map_while(|_| scene.heard()).collect();
    assert_eq!(heard, vec!["commit"; times], "{moment:?}");
    assert!(scene.heard.try_recv().is_err(), "{moment:?}");
    assert_eq!(scene.proxy.cuts(), 1);
}

#[test]
fn a_request_or_its_answer_is_lost() {
    check(Moment::BeforeRequest, false);
    check(Moment::AfterRequest, true);
    check(Moment::BeforeAnswer, true);
}

#[test]
fn a_marker_is_found_across_two_writes() {
    let scene = Scene::begin();
    let stream = scene.connect();
    scene.proxy.cut_at(b"commit", Moment::BeforeRequest);
    (&stream).write_all(b"begin\ncom").unwrap();
    assert_eq!(answer(&stream).as_deref(), Some("begin"));
    (&stream).write_all(b"mit\n").unwrap();
    assert_eq!(answer(&stream), None);
}

#[test]
fn what_is_held_comes_after_the_release_or_never() {
    let scene = Scene::begin();
    let (one, other) = (scene.connect(), scene.connect());
    for stream in [&one, &other] {
        say(stream, "ready");
        assert_eq!(answer(stream).as_deref(), Some("ready"));
    }
    assert_eq!((scene.heard(), scene.heard()), (Some("ready".into()), Some("ready".into())));
    scene.proxy.hold();
    say(&one, "late");
    assert!(scene.heard.recv_timeout(QUIET).is_err());
    scene.proxy.release();
    assert_eq!(answer(&one).as_deref(), Some("late"));
    scene.proxy.hold();
    say(&one, "never");
    assert_eq!(scene.proxy.cut(), 2);
    assert_eq!((answer(&one), answer(&other)), (None, None));
    scene.proxy.release();
    assert_eq!(scene.heard().as_deref(), Some("late"));
    assert!(scene.heard.recv_timeout(QUIET).is_err());
}

#[test]
fn what_is_to_be_done_is_done_before_the_connection_is_cut() {
    for (moment, is_heard) in
        [(Moment::BeforeRequest, false), (Moment::AfterRequest, true), (Moment::BeforeAnswer, true)]
    {
        let scene = Scene::begin();
        let (tell, told) = channel();
        scene.proxy.do_at(b"commit", moment, move || tell.send(()).unwrap());
        let stream = scene.connect();
        say(&stream, "commit");
        assert_eq!(answer(&stream), None, "{moment:?}");
        assert!(told.try_recv().is_ok(), "{moment:?}");
        assert_eq!(is_heard, scene.heard.recv_timeout(QUIET).is_ok(), "{moment:?}");
    }
}

#[test]
fn an_answer_that_comes_before_the_cut_is_lost() {
    let scene = Scene::begin();
    let stream = scene.connect();
    let Scene { proxy, answered, heard: _heard } = scene;
    let (tell, told) = channel();
    proxy.do_at(b"commit", Moment::AfterRequest, move || {
        answered.recv_timeout(BOUND).unwrap();
        // Until the client has the answer, which it never gets.
        let _ = told.recv_timeout(QUIET);
    });
    say(&stream, "commit");
    let answer = answer(&stream);
    let _ = tell.send(());
    assert_eq!(answer, None);
}

#[test]
fn a_marker_that_was_taken_back_does_nothing() {
    let scene = Scene::begin();
    scene.proxy.cut_at(b"commit", Moment::BeforeRequest);
    scene.proxy.disarm();
    let stream = scene.connect();
    say(&stream, "commit");
    assert_eq!(answer(&stream).as_deref(), Some("commit"));
}
