%% The second kind of links between nodes: EMQX's nodes call each other at 5370 plus the number that ends the node's name.
-module(emqx_rpc).
-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(PORT, 5370).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    process_flag(trap_exit, true),
    {Ip, Port} = place(node()),
    {ok, Listening} = gen_tcp:listen(Port, [binary, {ip, Ip}, {reuseaddr, true}, {active, false}]),
    spawn_link(fun() -> accept(Listening, []) end),
    self() ! connect,
    {ok, #{}}.

accept(Listening, Sockets) ->
    case gen_tcp:accept(Listening) of
        {ok, Socket} -> accept(Listening, [Socket | Sockets]);
        {error, _} -> ok
    end.

place(Node) ->
    [_, Host] = string:split(atom_to_list(Node), "@"),
    {ok, Ip} = inet:parse_address(Host),
    {Ip, ?PORT + ekka_epmd:offset(atom_to_list(Node))}.

handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

%% One link to every other node; a link that has ended is made anew.
handle_info(connect, Links) ->
    erlang:send_after(1000, self(), connect),
    Missing = nodes() -- maps:values(Links),
    New = [{Socket, Node} || Node <- Missing, {ok, Socket} <- [link_to(Node)]],
    {noreply, maps:merge(Links, maps:from_list(New))};
handle_info({tcp_closed, Socket}, Links) ->
    {noreply, maps:remove(Socket, Links)};
handle_info(_Message, Links) ->
    {noreply, Links}.

link_to(Node) ->
    {Ip, Port} = place(Node),
    gen_tcp:connect(Ip, Port, [binary, {active, true}], 1000).
