%% One client: as much of MQTT 3.1.1 as the tests speak. CONNECT, PINGREQ, PUBLISH at QoS 0 and 1 (a retained message is kept in the
%% database), SUBSCRIBE (the retained messages of exactly that topic are sent; at QoS 1 those that follow, too), PUBACK, DISCONNECT. A line
%% that begins with `hello` is answered with a line, for clients that do not speak MQTT.
%%
%% As in EMQX 4, the session of a client lives in the process of its connection. Where the client wants it kept (`clean_session` is off),
%% the process stays when the connection is lost, and queues what comes. A node that the client comes back to takes the session over from
%% that process, on whichever running node it is; with the node it is lost.
-module(emqx_connection).

-export([accept/2, loop/4, hold/1, tables/0]).

%% How long the process that has handed a session over passes on what still comes to it, in milliseconds.
-define(PASSES_ON, 3000).

%% The tables in which EMQX counts sessions, and those of them that are connected.
tables() ->
    [ets:new(Name, [named_table, public]) || Name <- [emqx_channel, emqx_channel_conn]],
    ok.

accept(Transport, Listening) ->
    case accept_one(Transport, Listening) of
        {ok, Socket} ->
            Pid = spawn(fun() -> begin_connection(Transport, Socket) end),
            case controlling(Transport, Socket, Pid) of
                ok -> Pid ! {go, Socket};
                {error, _} -> exit(Pid, kill)
            end,
            ?MODULE:accept(Transport, Listening);
        {error, closed} ->
            exit(closed);
        {error, _} ->
            ?MODULE:accept(Transport, Listening)
    end.

accept_one(gen_tcp, Listening) ->
    gen_tcp:accept(Listening);
accept_one(ssl, Listening) ->
    ssl:transport_accept(Listening).

controlling(Transport, Socket, Pid) ->
    Transport:controlling_process(Socket, Pid).

begin_connection(gen_tcp, _) ->
    receive {go, Socket} -> begin_loop(gen_tcp, Socket) after 5000 -> ok end;
begin_connection(ssl, _) ->
    receive
        {go, Raw} ->
            case ssl:handshake(Raw, 5000) of
                {ok, Socket} -> begin_loop(ssl, Socket);
                {error, _} -> ok
            end
    after 5000 -> ok
    end.

begin_loop(Transport, Socket) ->
    case emqx_rebalance:takes_clients() of
        true ->
            pg:join(emqx_clients, self()),
            loop(Transport, Socket, <<>>, none);
        false -> Transport:close(Socket)
    end.

%% The session is `none` until the client has asked for one that is kept.
loop(Transport, Socket, Buffer, Session) ->
    case packet(Buffer) of
        {Packet, Rest} ->
            case answer(Packet, Session) of
                stop ->
                    closed(Transport, Socket, Session);
                {Answer, Next} ->
                    _ = Answer =:= <<>> orelse Transport:send(Socket, Answer),
                    ?MODULE:loop(Transport, Socket, Rest, send_queue(Transport, Socket, Next))
            end;
        more ->
            case wants_more(Transport, Socket) of
                ok -> ok;
                {error, _} -> self() ! evict
            end,
            receive
                {_, Socket, Bytes} when is_binary(Bytes) ->
                    ?MODULE:loop(Transport, Socket, <<Buffer/binary, Bytes/binary>>, Session);
                {deliver, Message} ->
                    Next = send_queue(Transport, Socket, queued(Message, Session)),
                    ?MODULE:loop(Transport, Socket, Buffer, Next);
                {hand_over, To, Ref} ->
                    Transport:close(Socket),
                    hand_over(To, Ref, Session);
                evict ->
                    closed(Transport, Socket, Session);
                {Closed, Socket} when Closed =:= tcp_closed; Closed =:= ssl_closed ->
                    closed(Transport, Socket, Session);
                {Failed, Socket, _} when Failed =:= tcp_error; Failed =:= ssl_error ->
                    closed(Transport, Socket, Session)
            end
    end.

wants_more(gen_tcp, Socket) -> inet:setopts(Socket, [{active, once}]);
wants_more(ssl, Socket) -> ssl:setopts(Socket, [{active, once}]).

%% The connection is lost; a session that is to be kept stays.
closed(Transport, Socket, Session) ->
    Transport:close(Socket),
    pg:leave(emqx_clients, self()),
    forget(emqx_channel_conn),
    case Session of
        none -> forget(emqx_channel);
        #{unanswered := Unanswered, queue := Queue} ->
            Sent = [Message || {_, Message} <- Unanswered],
            wait(Session#{unanswered := [], queue := Sent ++ Queue})
    end.

wait(Session) ->
    receive
        {deliver, Message} -> wait(queued(Message, Session));
        {hand_over, To, Ref} -> hand_over(To, Ref, Session);
        %% What an evacuation does with sessions whose clients do not come back.
        {move, Node} ->
            New = spawn(Node, ?MODULE, hold, [self()]),
            receive {hand_over, New, Ref} -> hand_over(New, Ref, Session) after 5000 -> wait(Session) end
    end.

%% Takes a session over that has no connection.
hold(From) ->
    case taken_over(From) of
        none -> ok;
        Session ->
            register_session(Session),
            wait(Session)
    end.

register_session(#{client := Client, topics := Topics}) ->
    note(emqx_channel),
    pg:join({session, Client}, self()),
    [pg:join({topic, Topic}, self()) || Topic <- Topics].

hand_over(To, Ref, Session) ->
    To ! {session, Ref, Session},
    pg:leave({session, maps:get(client, Session)}, self()),
    forget(emqx_channel),
    forget(emqx_channel_conn),
    erlang:send_after(?PASSES_ON, self(), enough),
    pass_on(To).

pass_on(To) ->
    receive
        {deliver, _} = Message ->
            To ! Message,
            pass_on(To);
        enough -> ok
    end.

taken_over(From) ->
    Ref = monitor(process, From),
    From ! {hand_over, self(), Ref},
    receive
        {session, Ref, #{unanswered := Unanswered, queue := Queue} = Session} ->
            demonitor(Ref, [flush]),
            Session#{unanswered := [], queue := [Message || {_, Message} <- Unanswered] ++ Queue};
        {'DOWN', Ref, process, From, _} -> none
    after 5000 ->
        demonitor(Ref, [flush]),
        none
    end.

%% The session that a client had, wherever it is.
resumed(Client) ->
    case pg:get_members({session, Client}) -- [self()] of
        [] -> none;
        [From | _] -> taken_over(From)
    end.

queued(_Message, none) ->
    none;
queued(Message, #{queue := Queue} = Session) ->
    Session#{queue := Queue ++ [Message]}.

%% Sends what is queued; it counts as sent once more until the client has acknowledged it.
send_queue(_Transport, _Socket, none) ->
    none;
send_queue(Transport, Socket, #{queue := Queue, unanswered := Unanswered, next := Next} = Session) ->
    Numbered = lists:zip(lists:seq(Next, Next + length(Queue) - 1), Queue),
    _ = [Transport:send(Socket, message(Id, Topic, Payload)) || {Id, {Topic, Payload}} <- Numbered],
    After = case Next + length(Queue) of Large when Large > 60000 -> 1; Small -> Small end,
    Session#{queue := [], unanswered := Unanswered ++ Numbered, next := After}.

message(Id, Topic, Payload) ->
    Size = 2 + byte_size(Topic) + 2 + byte_size(Payload),
    [<<16#32>>, encode_length(Size), <<(byte_size(Topic)):16>>, Topic, <<Id:16>>, Payload].

%% The tables are there as long as the listener is.
note(Table) -> catch ets:insert(Table, {self()}).
forget(Table) -> catch ets:delete(Table, self()).

%% A whole packet and what follows it.
packet(<<"hello", Rest/binary>>) ->
    case binary:split(Rest, <<"\n">>) of
        [_, Tail] -> {hello, Tail};
        [_] -> more
    end;
packet(<<Kind:4, Flags:4, Rest/binary>>) ->
    case remaining_length(Rest, 0, 0) of
        {Length, Tail} when byte_size(Tail) >= Length ->
            <<Body:Length/binary, Next/binary>> = Tail,
            {{Kind, Flags, Body}, Next};
        _ -> more
    end;
packet(_) ->
    more.

remaining_length(<<1:1, Bits:7, Rest/binary>>, Shift, Sum) when Shift < 28 ->
    remaining_length(Rest, Shift + 7, Sum + (Bits bsl Shift));
remaining_length(<<0:1, Bits:7, Rest/binary>>, Shift, Sum) ->
    {Sum + (Bits bsl Shift), Rest};
remaining_length(_, _, _) ->
    more.

answer(hello, Session) ->
    {iolist_to_binary(["hello from ", atom_to_list(node()), " ", emqx_sys:version(), "\n"]), Session};
answer({1, _, <<Length:16, _:Length/binary, _Level:8, Flags:8, _KeepAlive:16, Size:16, Client:Size/binary, _/binary>>}, none) ->
    note(emqx_channel_conn),
    case Flags band 2 of
        2 ->
            note(emqx_channel),
            {<<16#20, 2, 0, 0>>, none};
        0 ->
            {Present, Session} = case resumed(Client) of
                none -> {0, #{client => Client, topics => [], queue => [], unanswered => [], next => 1}};
                Found -> {1, Found}
            end,
            register_session(Session),
            {<<16#20, 2, Present, 0>>, Session}
    end;
answer({12, _, _}, Session) ->
    {<<16#D0, 0>>, Session};
answer({3, Flags, <<Length:16, Topic:Length/binary, Rest/binary>>}, Session) ->
    Qos = (Flags bsr 1) band 3,
    {Id, Payload} = case {Qos, Rest} of
        {0, _} -> {none, Rest};
        {_, <<PacketId:16, Tail/binary>>} -> {PacketId, Tail}
    end,
    _ = (Flags band 1) =:= 0 orelse emqx_cluster:retain(Topic, Payload),
    _ = [Subscriber ! {deliver, {Topic, Payload}} || Subscriber <- pg:get_members({topic, Topic})],
    case Id of
        none -> {<<>>, Session};
        _ -> {<<16#40, 2, Id:16>>, Session}
    end;
answer({4, _, <<Id:16>>}, #{unanswered := Unanswered} = Session) ->
    {<<>>, Session#{unanswered := lists:keydelete(Id, 1, Unanswered)}};
answer({8, _, <<Id:16, Length:16, Topic:Length/binary, Qos:8, _/binary>>}, Session) ->
    {Granted, Next} = case {Qos, Session} of
        {0, _} -> {0, Session};
        {_, none} -> {0, none};
        {_, #{topics := Topics}} ->
            pg:join({topic, Topic}, self()),
            {1, Session#{topics := lists:usort([Topic | Topics])}}
    end,
    Retained = [retained(Topic, Payload) || Payload <- emqx_cluster:retained(Topic)],
    {iolist_to_binary([<<16#90, 3, Id:16, Granted>> | Retained]), Next};
answer({14, _, _}, _Session) ->
    stop;
answer(_, _Session) ->
    stop.

retained(Topic, Payload) ->
    Size = 2 + byte_size(Topic) + byte_size(Payload),
    [<<16#31>>, encode_length(Size), <<(byte_size(Topic)):16>>, Topic, Payload].

encode_length(Size) when Size < 128 ->
    <<Size>>;
encode_length(Size) ->
    [<<1:1, (Size rem 128):7>>, encode_length(Size div 128)].
