%% One client: as much of MQTT 3.1.1 as the tests speak. CONNECT, PINGREQ, PUBLISH at QoS 0 and 1 (a retained message is kept in the
%% database), SUBSCRIBE (the retained messages of exactly that topic are sent), DISCONNECT. A line that begins with `hello` is answered
%% with a line, for clients that do not speak MQTT.
-module(emqx_connection).

-export([accept/2, loop/3]).

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
            loop(Transport, Socket, <<>>);
        false -> Transport:close(Socket)
    end.

loop(Transport, Socket, Buffer) ->
    case packet(Buffer) of
        {Packet, Rest} ->
            case answer(Packet) of
                stop ->
                    Transport:close(Socket);
                Answer ->
                    _ = Answer =:= <<>> orelse Transport:send(Socket, Answer),
                    ?MODULE:loop(Transport, Socket, Rest)
            end;
        more ->
            case Transport:recv(Socket, 0) of
                {ok, Bytes} -> ?MODULE:loop(Transport, Socket, <<Buffer/binary, Bytes/binary>>);
                {error, _} -> Transport:close(Socket)
            end
    end.

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

answer(hello) ->
    iolist_to_binary(["hello from ", atom_to_list(node()), " ", emqx_sys:version(), "\n"]);
answer({1, _, _}) ->
    <<16#20, 2, 0, 0>>;
answer({12, _, _}) ->
    <<16#D0, 0>>;
answer({3, Flags, <<Length:16, Topic:Length/binary, Rest/binary>>}) ->
    Qos = (Flags bsr 1) band 3,
    {Id, Payload} = case {Qos, Rest} of
        {0, _} -> {none, Rest};
        {_, <<PacketId:16, Tail/binary>>} -> {PacketId, Tail}
    end,
    _ = (Flags band 1) =:= 0 orelse emqx_cluster:retain(Topic, Payload),
    case Id of
        none -> <<>>;
        _ -> <<16#40, 2, Id:16>>
    end;
answer({8, _, <<Id:16, Length:16, Topic:Length/binary, _Qos:8, _/binary>>}) ->
    Retained = [retained(Topic, Payload) || Payload <- emqx_cluster:retained(Topic)],
    iolist_to_binary([<<16#90, 3, Id:16, 0>> | Retained]);
answer({14, _, _}) ->
    stop;
answer(_) ->
    stop.

retained(Topic, Payload) ->
    Size = 2 + byte_size(Topic) + byte_size(Payload),
    [<<16#31>>, encode_length(Size), <<(byte_size(Topic)):16>>, Topic, Payload].

encode_length(Size) when Size < 128 ->
    <<Size>>;
encode_length(Size) ->
    [<<1:1, (Size rem 128):7>>, encode_length(Size div 128)].
