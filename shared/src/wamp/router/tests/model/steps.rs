//! What the clients of a random run do, one step at a time.

use super::*;

impl Run {
    fn join(&mut self, who: usize) -> Verdict {
        self.last_connection += 1;
        let connection = self.last_connection;
        self.clients[who] = Client {
            connection,
            ..Client::default()
        };
        let (cancels, progresses) = (!self.one_in(4), !self.one_in(4));
        self.model.join(who, Features { cancels, progresses });
        self.feed(
            Input::Attach {
                connection: ConnectionId(connection),
                codec: CodecId::Json,
                principal: Principal::new("user", "user", "test"),
            },
            Vec::new(),
        )?;
        let mut callee = crate::wamp::role::Role::default();
        for (name, on) in [("call_canceling", cancels), ("progressive_call_results", progresses)] {
            callee.features.insert(name.to_owned(), on);
        }
        let roles = crate::wamp::role::Roles([("callee".to_owned(), callee)].into());
        let details = HelloDetails {
            roles,
            ..HelloDetails::default()
        };
        let realm = Uri::unchecked("realm");
        self.say(who, Message::Hello(Box::new(Hello { realm, details })), Vec::new())
    }

    fn leave(&mut self, who: usize) -> Verdict {
        let connection = ConnectionId(self.clients[who].connection);
        let Some(session) = self.clients[who].session else {
            return Ok(());
        };
        let mut expected = Vec::new();
        self.model.leave(who, &mut expected);
        let input = match self.below(4) {
            0 => Input::Detach { connection },
            1 => {
                expected.push(Seen {
                    who,
                    what: What::Goodbye,
                });
                let message = Message::goodbye(close::CLOSE_REALM, None);
                Input::Message {
                    connection,
                    message: message.into(),
                }
            }
            2 => {
                expected.extend([What::Goodbye, What::Closed].map(|what| Seen { who, what }));
                let reason = Uri::unchecked(close::KILLED);
                Input::Kill {
                    session,
                    reason,
                    message: None,
                }
            }
            _ => {
                expected.extend([What::Abort, What::Closed].map(|what| Seen { who, what }));
                let options = YieldOptions::default();
                let request = RequestId::wrapped(1 << 40);
                let message = Message::Yield(Yield {
                    request,
                    options,
                    payload: payload(0),
                });
                Input::Message {
                    connection,
                    message: message.into(),
                }
            }
        };
        self.feed(input, expected)?;
        self.feed(Input::Detach { connection }, Vec::new())?;
        self.clients[who] = Client::default();
        Ok(())
    }

    fn subscribing(&mut self, who: usize) -> Verdict {
        let request = self.request(who);
        let mut expected = Vec::new();
        if self.one_in(3) {
            let known: Vec<_> = self.clients[who]
                .subscriptions
                .iter()
                .map(|(id, pattern)| (*id, *pattern))
                .collect();
            let Some((subscription, pattern)) = self.pick(&known) else {
                return Ok(());
            };
            self.clients[who].subscriptions.remove(&subscription);
            self.model.unsubscribe(who, request.get(), pattern, &mut expected);
            return self.say(
                who,
                Message::Unsubscribe(Unsubscribe { request, subscription }),
                expected,
            );
        }
        let pattern = self.pick(&PATTERNS).ok_or("no patterns")?;
        self.clients[who].asked.insert(request, pattern);
        self.model.subscribe(who, request.get(), pattern, &mut expected);
        let options = SubscribeOptions {
            policy: pattern.0,
            ..SubscribeOptions::default()
        };
        let topic = Uri::unchecked(pattern.1);
        self.say(
            who,
            Message::Subscribe(Subscribe {
                request,
                options,
                topic,
            }),
            expected,
        )
    }

    fn publish(&mut self, who: usize) -> Verdict {
        let (request, tag) = (self.request(who), self.tag());
        let topic = self.pick(&NAMES).ok_or("no names")?;
        let joined: Vec<(usize, SessionId)> = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(slot, client)| Some((slot, client.session?)))
            .collect();
        let some = |run: &mut Self| {
            let chosen: Vec<_> = joined.iter().copied().filter(|_| run.one_in(2)).collect();
            run.one_in(3).then_some(chosen)
        };
        let (exclude, eligible) = (some(self), some(self));
        let slots =
            |list: &Option<Vec<(usize, SessionId)>>| list.as_ref().map(|list| list.iter().map(|it| it.0).collect());
        let ids = |list: Option<Vec<(usize, SessionId)>>| list.map(|list| list.iter().map(|it| it.1).collect());
        let wish = Wish {
            exclude_me: self.pick(&[None, Some(true), Some(false)]).flatten(),
            exclude: slots(&exclude),
            eligible: slots(&eligible),
            acknowledge: self.one_in(2),
        };
        let mut expected = Vec::new();
        self.model.publish(who, request.get(), topic, tag, &wish, &mut expected);
        let options = PublishOptions {
            acknowledge: wish.acknowledge,
            exclude_me: wish.exclude_me,
            exclude: ids(exclude),
            eligible: ids(eligible),
            ..PublishOptions::default()
        };
        let topic = Uri::unchecked(topic);
        let publish = Publish {
            request,
            options,
            topic,
            payload: payload(tag),
        };
        self.say(who, Message::Publish(Box::new(publish)), expected)
    }

    fn registering(&mut self, who: usize) -> Verdict {
        let request = self.request(who);
        let mut expected = Vec::new();
        if self.one_in(4) {
            let known: Vec<_> = self.clients[who]
                .registrations
                .iter()
                .map(|(id, pattern)| (*id, *pattern))
                .collect();
            let Some((registration, pattern)) = self.pick(&known) else {
                return Ok(());
            };
            // Invocations that are still held for it come all the same: they were routed before.
            self.clients[who].registrations.remove(&registration);
            self.clients[who].former.insert(registration);
            self.model.unregister(who, request.get(), pattern, &mut expected);
            return self.say(who, Message::Unregister(Unregister { request, registration }), expected);
        }
        let pattern = self.pick(&PATTERNS).ok_or("no patterns")?;
        let policies = [
            InvokePolicy::Single,
            InvokePolicy::RoundRobin,
            InvokePolicy::First,
            InvokePolicy::Last,
        ];
        let invoke = self.pick(&policies).ok_or("no policies")?;
        self.clients[who].asked.insert(request, pattern);
        self.model.register(who, request.get(), pattern, invoke, &mut expected);
        let options = RegisterOptions {
            policy: pattern.0,
            invoke,
            ..RegisterOptions::default()
        };
        let procedure = Uri::unchecked(pattern.1);
        self.say(
            who,
            Message::Register(Register {
                request,
                options,
                procedure,
            }),
            expected,
        )
    }

    fn call(&mut self, who: usize) -> Verdict {
        let (request, tag) = (self.request(who), self.tag());
        let procedure = self.pick(&NAMES).ok_or("no names")?;
        let (progress, timeout) = (self.one_in(2), if self.one_in(3) { 20 } else { 0 });
        let mut expected = Vec::new();
        self.model
            .call((who, request.get()), procedure, tag, (progress, timeout), &mut expected);
        self.clients[who].calls.push((request, tag));
        let options = CallOptions {
            receive_progress: progress,
            timeout: Some(timeout),
            ..CallOptions::default()
        };
        let procedure = Uri::unchecked(procedure);
        let call = Call {
            request,
            options,
            procedure,
            payload: payload(tag),
        };
        self.say(who, Message::Call(call), expected)
    }

    fn cancel(&mut self, who: usize) -> Verdict {
        let calls = self.clients[who].calls.clone();
        let Some((request, _)) = self.pick(&calls) else {
            return Ok(());
        };
        let mode = self
            .pick(&[CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait])
            .ok_or("no modes")?;
        let mut expected = Vec::new();
        self.model.cancel(who, request.get(), mode, &mut expected);
        let options = CancelOptions {
            mode: Some(mode),
            reason: None,
        };
        self.say(who, Message::Cancel(Cancel { request, options }), expected)
    }

    /// Reads an invocation, or answers one that was read: also twice, also after it was given up.
    fn serve(&mut self, who: usize) -> Verdict {
        let client = &mut self.clients[who];
        if client.read.is_empty() || self.random.next().is_multiple_of(2) {
            client.read.extend(client.queue.pop_front());
            return Ok(());
        }
        let read = client.read.clone();
        let Some((request, tag)) = self.pick(&read) else {
            return Ok(());
        };
        let answer = self
            .pick(&[Answer::Progress, Answer::Result, Answer::Error])
            .ok_or("no answers")?;
        let mut expected = Vec::new();
        self.model.answer(tag, answer, &mut expected);
        let message = if answer == Answer::Error {
            let (details, error) = (ErrorDetails::default(), Uri::unchecked("an.error"));
            let (request_type, payload) = (code::INVOCATION, payload(tag));
            Message::Error(ErrorMessage {
                request_type,
                request,
                details,
                error,
                payload,
            })
        } else {
            let progress = answer == Answer::Progress;
            let options = YieldOptions {
                progress,
                ..YieldOptions::default()
            };
            Message::Yield(Yield {
                request,
                options,
                payload: payload(tag),
            })
        };
        self.say(who, message, expected)
    }

    /// Tells the router that an invocation was read, if it waits for that.
    fn room(&mut self, who: usize) -> Verdict {
        let client = &mut self.clients[who];
        if !client.waits_for_room || client.queue.len() >= self.capacity {
            return Ok(());
        }
        client.waits_for_room = false;
        let connection = ConnectionId(client.connection);
        self.feed(
            Input::Room {
                connection,
                invocations: 1,
            },
            Vec::new(),
        )?;
        self.clients[who].waits_for_room |= self.router.is_stalled(connection);
        Ok(())
    }

    fn tick(&mut self) -> Verdict {
        self.now += self.random.next() % 15;
        let mut expected = Vec::new();
        self.model.tick(self.now, &mut expected);
        let now = Duration::from_millis(self.now);
        self.feed(Input::Tick { now }, expected)
    }

    pub(super) fn step(&mut self) -> Verdict {
        let who = self.below(CLIENTS);
        if self.clients[who].session.is_none() {
            return self.join(who);
        }
        match self.below(32) {
            0 => self.leave(who),
            1..=5 => self.subscribing(who),
            6..=11 => self.publish(who),
            12..=16 => self.registering(who),
            17..=22 => self.call(who),
            23..=24 => self.cancel(who),
            25..=28 => self.serve(who),
            29..=30 => self.room(who),
            _ => self.tick(),
        }
    }

    /// Everybody reads what is there: nothing may be left over. Then everybody leaves: nothing may be left at all.
    pub(super) fn finish(&mut self) -> Verdict {
        for who in 0..CLIENTS {
            while self.clients[who].waits_for_room || !self.clients[who].queue.is_empty() {
                let read = self.clients[who].queue.pop_front();
                self.clients[who].read.extend(read);
                self.room(who)?;
            }
        }
        ensure!(
            self.model.coming.iter().all(VecDeque::is_empty),
            "never delivered: {:?}",
            self.model.coming
        );
        for who in 0..CLIENTS {
            self.leave(who)?;
        }
        ensure!(
            self.router.stats() == Stats::default(),
            "left over: {:?}",
            self.router.stats()
        );
        Ok(())
    }
}
