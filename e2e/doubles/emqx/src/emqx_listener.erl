%% The listeners: MQTT over TCP, and over TLS where a port for it is configured.
-module(emqx_listener).
-behaviour(gen_server).

-export([start_link/0, close/0, connections/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Accepts nobody any more. Connections stay.
close() ->
    gen_server:call(?MODULE, close).

%% How many clients are connected.
connections() ->
    gen_server:call(?MODULE, connections).

init([]) ->
    process_flag(trap_exit, true),
    ok = emqx_connection:tables(),
    Options = [binary, {active, false}, {reuseaddr, true}, {backlog, 1024}, {nodelay, true}],
    Tcp = case application:get_env(emqx, tcp) of
        {ok, {Ip, Port}} ->
            {ok, Socket} = gen_tcp:listen(Port, [{ip, Ip} | Options]),
            [{gen_tcp, Socket}];
        undefined -> []
    end,
    Tls = case application:get_env(emqx, ssl) of
        {ok, {TlsIp, TlsPort, Cert, Key}} ->
            {ok, TlsSocket} = ssl:listen(TlsPort, [{ip, TlsIp}, {certfile, Cert}, {keyfile, Key} | Options]),
            [{ssl, TlsSocket}];
        undefined -> []
    end,
    Sockets = Tcp ++ Tls,
    Acceptors = [spawn_link(fun() -> emqx_connection:accept(Transport, Socket) end)
                 || {Transport, Socket} <- Sockets, _ <- lists:seq(1, 4)],
    {ok, #{sockets => Sockets, acceptors => Acceptors}}.

handle_call(close, _From, #{sockets := Sockets} = State) ->
    [Transport:close(Socket) || {Transport, Socket} <- Sockets],
    {reply, ok, State#{sockets := []}};
handle_call(connections, _From, State) ->
    {reply, length(pg:get_local_members(emqx_clients)), State}.

handle_cast(_Message, State) ->
    {noreply, State}.

%% An acceptor ends when its listener is closed, or when its connection goes wrong before it is handed over.
handle_info({'EXIT', _Pid, closed}, State) ->
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

terminate(_Reason, #{sockets := Sockets}) ->
    [Transport:close(Socket) || {Transport, Socket} <- Sockets],
    ok.
