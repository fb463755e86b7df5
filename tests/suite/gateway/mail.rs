//! Alerts by mail, as a server of SMTP sees them byte by byte.
use super::process::{Gateway, Peer, message, wait_for};
use super::server::Server;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Takes mails, or refuses them while it is told to; what was said either way is kept, one text a connection.
struct MailServer {
    address: String,
    refuses: Arc<AtomicBool>,
    /// Who comes late is refused for the moment.
    greylists: Arc<AtomicBool>,
    said: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    fn start() -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = MailServer {
            address: listener.local_addr().unwrap().to_string(),
            refuses: Arc::default(),
            greylists: Arc::default(),
            said: Arc::default(),
        };
        let (refuses, said) = (Arc::clone(&server.refuses), Arc::clone(&server.said));
        let greylists = Arc::clone(&server.greylists);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard =
                    serve(stream, refuses.load(Ordering::SeqCst), greylists.load(Ordering::SeqCst)).unwrap_or_default();
                said.lock().unwrap().push(heard);
            }
        });
        server
    }

    fn configuration(&self, email: &str, rules: &str) -> String {
        let server = format!(
            "to = [\"Desk <desk@a.example>\", \"gone@a.example\"], from = \"handoff@c.example\", smtp = \"smtp://{}\"",
            self.address
        );
        format!("[alerts]\nevery = \"200ms\"\nemail = {{ {server}, pause = \"1ms\"{email} }}\n{rules}\n")
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// The mails that were taken.
    fn mails(&self) -> Vec<String> {
        let said = self.said();
        let mails =
            said.iter().filter_map(|heard| Some(heard.split_once("DATA\r\n")?.1.split_once("\r\n.\r\n")?.0.to_owned()));
        mails.collect()
    }

    fn wait_for(&self, text: &str) -> Vec<String> {
        wait_for(text, || Some(self.mails()).filter(|mails| mails.iter().any(|mail| mail.contains(text))))
    }
}

/// One connection; gives all that was heard.
fn serve(mut stream: TcpStream, refuses: bool, greylists: bool) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut heard, mut in_mail) = (String::new(), false);
    stream.write_all(b"220 mail.example ESMTP\r\n")?;
    loop {
        let from = heard.len();
        if reader.read_line(&mut heard)? == 0 {
            return Ok(heard);
        }
        let line = &heard[from..];
        let answer = match line {
            ".\r\n" if in_mail => {
                in_mail = false;
                "250 taken\r\n"
            }
            _ if in_mail => continue,
            "DATA\r\n" => {
                in_mail = true;
                "354 go on\r\n"
            }
            "QUIT\r\n" => "221 bye\r\n",
            _ if line.starts_with("EHLO ") => "250-mail.example\r\n250 AUTH PLAIN\r\n",
            _ if line.starts_with("MAIL ") && refuses => "451 try again later\r\n",
            _ if line.starts_with("RCPT TO:<late@") && greylists => "450 come again later\r\n",
            _ if line.starts_with("RCPT TO:<gone@") => "550 nobody of that name\r\n",
            _ => "250 yes\r\n",
        };
        stream.write_all(answer.as_bytes())?;
    }
}

#[test]
fn a_queue_that_grows_old_is_mailed_once_and_once_when_it_is_over() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let target = Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "401 Unauthorized" });
    let server = MailServer::start();
    server.refuses.store(true, Ordering::SeqCst);
    let rules = "queue_age = \"50ms\"\nroute_held = \"50ms\"\ndisk_free = \"1KB\"";
    let email = ", user = \"handoff\", password = \"secret\"";
    let gateway = Gateway::start(&format!("{}{}", server.configuration(email, rules), target.configuration("", "")));
    assert!(Peer::connect(&gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"));
    gateway.wait_for_log("alerts cannot be mailed: transient error (451): try again later");
    assert_eq!(server.mails(), [""; 0]);
    // Until it is told, it waits with what comes up meanwhile.
    gateway.wait_for_log("route_held");
    server.refuses.store(false, Ordering::SeqCst);
    let mails = server.wait_for("OPEN      queue_age ehr, since ");
    assert!(
        mails[0].contains("Subject: [handoff ") && mails[0].contains("To: Desk <desk@a.example>, gone@a.example\r\n"),
        "{mails:?}"
    );
    server.wait_for("OPEN      route_held ehr");
    let said = server.said().pop().unwrap();
    let commands: Vec<_> = said.lines().take_while(|line| *line != "DATA").collect();
    assert!(commands[0].starts_with("EHLO ") && commands[0].len() > 5, "{said}");
    // The user and the password: \0handoff\0secret.
    assert_eq!(
        commands[1..],
        [
            "AUTH PLAIN AGhhbmRvZmYAc2VjcmV0",
            "MAIL FROM:<handoff@c.example>",
            "RCPT TO:<desk@a.example>",
            "RCPT TO:<gone@a.example>"
        ]
    );
    assert!(said.ends_with("\r\n.\r\nQUIT\r\n"), "{said}");
    gateway.wait_for_log("alerts: no mail to gone@a.example: permanent error (550): nobody of that name");
    // A restart is no reason to tell it again.
    let told = server.mails().len();
    let book = gateway.folder().join("handoff-data/alerts.json");
    wait_for("the book", || {
        let text = std::fs::read_to_string(&book).unwrap_or_default();
        (text.matches("\"mailed\":\"open\"").count() == 2).then_some(())
    });
    let gateway = gateway.kill_and_restart(None);
    gateway.wait_for_log("not delivered, to be tried again");
    up.store(true, Ordering::SeqCst);
    for rule in ["queue_age", "route_held"] {
        server.wait_for(&format!("RESOLVED  {rule} ehr, "));
    }
    gateway.stop();
    let mails = server.mails();
    let count = |text: &str| mails.iter().map(|mail| mail.matches(text).count()).sum::<usize>();
    assert_eq!([count("OPEN  "), count("RESOLVED  ")], [2, 2], "{mails:?}");
    assert!(mails.len() <= told + 2, "{mails:?}");
    assert!(mails.iter().all(|mail| !mail.contains("CANARY") && !mail.contains("patient-one")), "{mails:?}");
}

/// Another reader has got it, so it counts as told: who was refused for the moment gets it nevertheless, also after a restart, and nobody gets it twice.
#[test]
fn who_is_refused_for_the_moment_gets_the_mail_later() {
    let server = MailServer::start();
    server.greylists.store(true, Ordering::SeqCst);
    let configuration = server.configuration("", "disk_free = \"9999999TB\"").replace("gone@", "late@");
    let gateway = Gateway::start(&configuration);
    gateway.wait_for_log("alerts: no mail to late@a.example for the moment, it is tried again: transient error (450)");
    let mails = server.wait_for("OPEN      disk_free data");
    assert_eq!(mails.len(), 1);
    let late = gateway.folder().join("handoff-data/alerts-late.json");
    wait_for("what waits", || late.exists().then_some(()));
    let gateway = gateway.kill_and_restart(None);
    server.greylists.store(false, Ordering::SeqCst);
    let mails = wait_for("the mail", || Some(server.mails()).filter(|mails| mails.len() == 2));
    assert_eq!(mails[0], mails[1], "the same");
    let said = server.said().into_iter().rfind(|heard| heard.contains("DATA\r\n")).unwrap();
    assert!(said.contains("RCPT TO:<late@a.example>") && !said.contains("RCPT TO:<desk@"), "{said}");
    wait_for("nothing waits", || (!late.exists()).then_some(()));
    gateway.stop();
    assert_eq!(server.mails().len(), 2);
}

#[test]
fn a_server_that_offers_no_encryption_gets_neither_password_nor_mail() {
    let server = MailServer::start();
    let email = ", user = \"handoff\", password = \"secret\", starttls = true";
    let gateway = Gateway::start(&server.configuration(email, "disk_free = \"9999999TB\""));
    gateway.wait_for_log("alerts cannot be mailed: ");
    gateway.stop();
    for said in server.said() {
        let commands: Vec<_> = said.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert!(commands.iter().all(|command| ["EHLO", "QUIT"].contains(command)), "{said}");
    }
}

#[test]
fn a_name_that_leads_to_where_nobody_allows_is_not_connected_to() {
    let server = MailServer::start();
    let port = server.address.rsplit(':').next().unwrap();
    let rules = "disk_free = \"9999999TB\"\n[egress]\nallow = [\"10.2.0.0/16\"]";
    let configuration = server.configuration("", rules).replace(&server.address, &format!("localhost:{port}"));
    let gateway = Gateway::start(&configuration);
    gateway.wait_for_log("alerts cannot be mailed: localhost leads to ");
    gateway.stop();
    assert_eq!(server.said(), [""; 0], "nobody came");
}
